"""The documents that the package ships: each link in them leads to a file that it ships too."""

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(#[^)\s]*)?\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What lies below the package's folder of documents, files and folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "packaging"))
        contents = importlib.import_module("contents")

        found = {one.destination for one in contents.documents(tmp_path_factory.mktemp("stage"), "page")}
        assert str(contents.ROOT) == str(ROOT)
    for name in ("contents", "manual", "wheels", "interpreter"):
        sys.modules.pop(name, None)
    return {path.removeprefix("/usr/share/doc/fairlead/") for path in found}


def links(page: Path) -> list[tuple[str, str]]:
    return [(target, anchor) for target, anchor in _LINK.findall(page.read_text()) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """As a forge makes them from the headings."""
    titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(page.read_text()))
    return {f"#{title.replace(' ', '-')}" for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_on_a_host_too(page: Path, shipped: set[str]) -> None:
    assert str(page.relative_to(ROOT)) in shipped
    for target, anchor in links(page):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {target}"
        assert str(path.relative_to(ROOT)) in shipped, f"the package has no {target}, to which {page.name} links"
        assert not anchor or anchor in anchors(path), f"{page.name} links to {target}{anchor}"


def test_the_licence_is_the_one_that_the_project_names(shipped: set[str]) -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "LICENSE" in shipped
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
