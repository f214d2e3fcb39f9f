"""docs/architecture.md and docs/linkerd.md say what the code does: layers, files, tests, citations."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
LINKERD = (ROOT / "docs/linkerd.md").read_text()
_CITED = re.compile(r"docs/linkerd\.md((?:[,\s#]+(?:and )?§[0-9.]*[0-9](?:-§[0-9.]*[0-9])?)+)")
SOURCES = [
    path
    for folder in ("agent", "tests", "systemd", "packaging", "docs", "config")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".md", ".service", ".socket", ".toml") and "__pycache__" not in path.parts
]


def drawn() -> str:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return "\n".join(next(one["layers"] for one in contracts if one["name"] == "the layers"))


def test_the_layers_are_those_of_the_contract() -> None:
    assert f"test_architecture.py -->\n```text\n{drawn()}\n```\n" in ARCHITECTURE


def test_every_package_is_described() -> None:
    packages = [path.parent.name for path in (ROOT / "agent").glob("*/__init__.py")]
    assert [name for name in packages if f"| `agent/{name}` |" not in ARCHITECTURE] == []


@pytest.mark.parametrize(
    "path",
    sorted(set(re.findall(r"`((?:agent|tests|docs|config|core|privileged|daemon)/[\w/.-]+)`", ARCHITECTURE))),
)
def test_every_file_that_is_named_is_there(path: str) -> None:
    short = path.split("/")[0] in ("core", "privileged", "daemon")
    assert (ROOT / ("agent" if short else "") / path).exists()


def test_every_citation_resolves() -> None:
    sections = set(re.findall(r"^##+ ([0-9.]*[0-9])\.? ", LINKERD, re.MULTILINE))
    cited = {
        (str(path.relative_to(ROOT)), section)
        for path in SOURCES
        for group in _CITED.findall(path.read_text())
        for section in re.findall(r"§([0-9.]*[0-9])", group)
    }
    assert len(cited) > 20
    assert [one for one in sorted(cited) if one[1] not in sections] == []


def test_nothing_is_cited_that_a_reader_cannot_find() -> None:
    assert [str(path) for path in SOURCES if re.search(r"\bfacts §|facts/linkerd", path.read_text())] == [
        str(Path(__file__))
    ]
