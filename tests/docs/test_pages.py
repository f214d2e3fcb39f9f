"""Each generated page is what its table says now."""

import pytest

from tests.docs.pages import PAGES, ROOT


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_its_table_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "write it again: make docs"
