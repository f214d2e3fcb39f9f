"""What the objects of a list were read as: most of a fleet is as it was at the last reading."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from agent.adapters.kube.json_values import Json, name, part, text
from agent.core.watch.fleet import Name

T = TypeVar("T")


class Unchanged(Generic[T]):
    """By resourceVersion. Two states of an object never share one, nor does one that was created again."""

    def __init__(self, read: Callable[[Json], T]) -> None:
        self._read = read
        self._last: dict[str, dict[Name, tuple[str, T]]] = {}

    def of(self, path: str, items: Iterable[Json]) -> dict[Name, tuple[str, T]]:
        """These objects of that list, each with its version."""
        last, found = self._last.get(path, {}), dict[Name, tuple[str, T]]()
        for body in items:
            key, version = name(body), text(part(body, "metadata"), "resourceVersion")
            before = last.get(key)
            same = before is not None and before[0] == version != ""
            found[key] = before if same and before is not None else (version, self._read(body))
        return found

    def complete(self, path: str, found: dict[Name, tuple[str, T]]) -> dict[Name, T]:
        """That list is complete: what is not in `found` is forgotten."""
        self._last[path] = found
        return {key: value for key, (_, value) in found.items()}
