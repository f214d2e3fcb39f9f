"""One part of the archive: where it comes from, and how much of it is kept."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


class Missing(Exception):
    """The part cannot be read: the cause."""


@dataclass(frozen=True)
class Part:
    """`name`: of the file in the archive. `source`: for people. `most`: bytes that are kept, from the beginning.
    `read`: raises Missing. `ours`: a configuration, in which more may be secret than elsewhere."""

    name: str
    source: str
    most: int
    read: Callable[[], Awaitable[str]]
    ours: bool = False


@dataclass(frozen=True)
class Piece:
    """What was collected of a part. `trouble`: why there is no content, or what is wrong with it."""

    name: str
    source: str
    content: bytes = b""
    trouble: str = ""
