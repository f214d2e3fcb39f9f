"""What one request has read already, and whether it leaves the rules of others alone.

Apart from `host_rules`, so that a request that reads no rules does not load what reads them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar, cast

from agent.core.late import dataclass, field

T = TypeVar("T")


@dataclass
class Request:
    prefix: Path
    left_alone: bool = False
    known: dict[object, object] = field(default_factory=dict)


_current: ContextVar[Request | None] = ContextVar("request", default=None)


def current() -> Request | None:
    return _current.get()


@contextmanager
def request(prefix: Path, *, left_alone: bool = False) -> Iterator[None]:
    """Within it each thing is read once. `left_alone`: and nothing of others."""
    token = _current.set(Request(prefix, left_alone))
    try:
        yield
    finally:
        _current.reset(token)


def once(key: object, read: Callable[[], T]) -> T:
    cache = _current.get()
    if cache is None:
        return read()
    if key not in cache.known:
        cache.known[key] = read()
    return cast(T, cache.known[key])


def known(key: object) -> object | None:
    """What was read once in this request."""
    request = _current.get()
    return request.known.get(key) if request else None


def forget() -> None:
    """After this request itself has changed something."""
    if found := _current.get():
        found.known.clear()


def left_alone() -> bool:
    found = _current.get()
    return found is not None and found.left_alone
