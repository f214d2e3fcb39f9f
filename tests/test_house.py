"""The house rules are tests: style, types, who may import whom, sizes, and documents that match the code."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PYTHON = sorted((*ROOT.glob("agent/**/*.py"), *ROOT.glob("packaging/*.py"), *ROOT.glob("tests/**/*.py")))


@pytest.mark.parametrize(
    "command",
    ["ruff check .", "ruff format --check .", "mypy", "mypy packaging", "lint-imports"],
)
def test_lint(command: str) -> None:
    program, *arguments = command.split()
    done = subprocess.run(
        [BIN / program, *arguments], cwd=ROOT, capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_stay_small() -> None:
    sizes = sorted(len(path.read_text().splitlines()) for path in PYTHON)
    assert sizes[-1] <= 400
    assert sizes[len(sizes) // 2] <= 150, "the median file"


def test_every_package_states_its_law() -> None:
    for package in ROOT.glob("agent/*/__init__.py"):
        assert package.read_text().startswith('"""'), package


def test_the_lock_files_name_no_place() -> None:
    for lock in (*ROOT.glob("*.lock"), *ROOT.glob("packaging/*.lock")):
        text = lock.read_text()
        assert "://" not in text and "--index" not in text, lock
        assert "--hash=sha256:" in text, lock


def test_no_module_imports_a_private_name_of_another() -> None:
    """Ruff's SLF sees attributes alone. Modules whose own name is private are generated code of a library."""
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                private = [each.name for each in node.names if re.match(r"_(?!_)", each.name)]
                assert not private, f"{path}:{node.lineno}"
