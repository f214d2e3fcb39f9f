"""Each generated page is what its table says now."""

import pytest

from tests.docs import configuration_page
from tests.docs.pages import PAGES, ROOT


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_its_table_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "write it again: make docs"


def test_each_key_of_the_configuration_is_described() -> None:
    tables = configuration_page.tables()
    described = {f"{table}.{key}" for table, blocks in tables.items() for _, names in blocks for key in names}
    assert described == set(configuration_page.keys())
    assert all(text for blocks in tables.values() for text, _ in blocks), "each key has a text"
