"""Every fake of a port is held to a contract suite, which runs on the real thing as well."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONTRACT = ROOT / "tests/contract"
# Fakes without a suite of their own, and why.
ALONE = {
    "Breaking": "WorkloadApi that breaks a rule of the port on purpose",
    "Broken": "WorkloadApi that breaks a rule of the port on purpose",
    "Script": "Prober that reads its verdicts from a list",
    "Both": "Prober that hands on to two of them",
    "Scripted": "Prober that reads its verdicts from a list",
    "Mesh": "a mesh of real parts",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def signatures(node: ast.ClassDef) -> dict[str, int]:
    """Each method with the number of its arguments, without self."""
    return {
        one.name: len(one.args.posonlyargs) + len(one.args.args) + len(one.args.kwonlyargs) - 1
        for one in node.body
        if isinstance(one, Function)
    }


def ports(text: str) -> dict[str, dict[str, int]]:
    return {
        node.name: signatures(node)
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases)
    }


PORTS = {**ports((ROOT / "agent/ports.py").read_text()), **ports((ROOT / "agent/watcher_ports.py").read_text())}


def fakes(text: str) -> Iterator[tuple[str, str]]:
    """Each class with every method of a port, and the port."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            has = signatures(node).items()
            yield from ((node.name, port) for port, needs in PORTS.items() if needs.items() <= has)


FOUND = {
    (name, str(path.relative_to(ROOT)))
    for path in ROOT.glob("tests/**/*.py")
    if not path.is_relative_to(CONTRACT)
    for name, _ in fakes(path.read_text())
} | {
    (node.name, str(path.relative_to(ROOT)))
    for path in ROOT.glob("tests/fakes/*.py")
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.ClassDef) and node.name.startswith("Memory") and node.name != "MemoryHost"
}
SUITES = [ast.parse(path.read_text()) for path in CONTRACT.glob("*.py")]


def named(fake: str, module: str) -> bool:
    """Some file of the contract suites imports it from there."""
    where = module.removesuffix(".py").replace("/", ".")
    return any(
        isinstance(node, ast.ImportFrom) and node.module == where and fake in {alias.name for alias in node.names}
        for tree in SUITES
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize(("fake", "path"), sorted(FOUND))
def test_a_fake_is_held_to_a_contract(fake: str, path: str) -> None:
    assert (fake in ALONE) != named(fake, path), f"{path} has a fake {fake}: name it in a suite of tests/contract"


def test_the_exceptions_exist() -> None:
    assert ALONE.keys() <= {name for name, _ in FOUND}


def test_a_fake_is_found_by_its_methods() -> None:
    text = "class Quiet:\n    def notify(self, *lines: str) -> None: ...\n    def more(self) -> None: ..."
    assert list(fakes(text)) == [("Quiet", "Notifier")]
    assert not list(fakes("class Other:\n    def watch(self, more: int, than: int) -> None: ..."))
