"""Reads tables and keys, and collects every problem instead of stopping at the first.

A check takes the raw TOML value and returns the value to keep, or raises Bad.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from agent.config.shape import Problem

T = TypeVar("T")
Check = Callable[[object], T]
_REQUIRED: Final[Any] = object()


class Bad(Exception):
    """A value that cannot be used: why, and what to do."""

    def __init__(self, cause: str, remedy: str) -> None:
        self.cause, self.remedy = cause, remedy


class Table:
    """One table of the file. `take` each key, then `close`."""

    def __init__(self, tree: object, path: str, problems: list[Problem]) -> None:
        self._path, self._problems = path, problems
        self._known: list[str] = []
        if not isinstance(tree, dict):
            self.problem("", "must be a table", f"write [{path}] and its keys below it")
            tree = {}
        self._tree: dict[str, object] = tree

    def problem(self, key: str, cause: str, remedy: str) -> None:
        dotted = ".".join(part for part in (self._path, key) if part)
        self._problems.append(Problem(dotted, cause, remedy))

    def take(self, key: str, check: Check[T], default: T = _REQUIRED) -> T:
        """The checked value, or the default; after a problem, any value (it is not used)."""
        self._known.append(key)
        if key not in self._tree:
            if default is _REQUIRED:
                self.problem(key, "is missing", "add it; man fairlead.toml (config/fairlead.toml) has each key")
            return self._filler(default)
        try:
            return check(self._tree[key])
        except Bad as bad:
            self.problem(key, bad.cause, bad.remedy)
            return self._filler(default)

    def refuse(self, key: str, cause: str, remedy: str) -> None:
        """A known key that is not allowed here."""
        self._known.append(key)
        if key in self._tree:
            self.problem(key, cause, remedy)

    @staticmethod
    def _filler(default: T) -> T:
        return cast(T, None) if default is _REQUIRED else default

    def table(self, key: str) -> "Table":
        self._known.append(key)
        return Table(self._tree.get(key, {}), ".".join(p for p in (self._path, key) if p), self._problems)

    def tables(self, key: str) -> "list[Table]":
        self._known.append(key)
        entries = self._tree.get(key, [])
        if not isinstance(entries, list):
            self.problem(key, "must be an array of tables", f"write [[{key}]]")
            return []
        return [Table(item, f"{key}[{i}]", self._problems) for i, item in enumerate(entries)]

    def close(self) -> None:
        for key in self._tree.keys() - set(self._known):
            import difflib  # for a mistake alone

            near = difflib.get_close_matches(key, self._known, 1)
            self.problem(key, "is not a known key", f"did you mean {near[0]}?" if near else "remove it")
