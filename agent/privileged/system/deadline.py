"""One deadline for a request as a whole, whatever it waits for: a lock, a program, a peer.

Law: every program here that runs as root sets it before its first read. It acts by a signal, so it bounds also
what has no limit of its own.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_running: Final[list[tuple[float, type[BaseException]]]] = []


class Late(BaseException):
    """The request's deadline has expired; no handler of an expected error catches this."""


class PartLate(Exception):
    """A part has taken its share of the time."""


@contextmanager
def whole(seconds: float) -> Iterator[None]:
    """Raises Late. In the main thread."""
    before = signal.signal(signal.SIGALRM, _expired)
    try:
        with _limit(seconds, Late):
            yield
    finally:
        signal.signal(signal.SIGALRM, before)


@contextmanager
def part(seconds: float) -> Iterator[None]:
    """Raises PartLate, where the whole has a deadline."""
    if not _running:
        yield
        return
    with _limit(seconds, PartLate):
        yield


@contextmanager
def undivided() -> Iterator[None]:
    """What must not be given up half-way: the end of a part waits until it is done, that of the whole does not."""
    parts = [one for one in _running if one[1] is PartLate]
    for one in parts:
        _running.remove(one)
    _set()
    try:
        yield
    finally:
        _running.extend(parts)
        _set()


@contextmanager
def _limit(seconds: float, late: type[BaseException]) -> Iterator[None]:
    found = time.monotonic() + seconds, late
    _running.append(found)
    try:
        _set()
        yield
    finally:
        _running.remove(found)
        _set()


def _set() -> None:
    first = min((at for at, _ in _running), default=0.0)
    signal.setitimer(signal.ITIMER_REAL, max(first - time.monotonic(), 0.001) if _running else 0)


def _expired(*_: object) -> None:
    if _running:
        raise min(_running, key=lambda one: one[0])[1]
