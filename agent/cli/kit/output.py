"""What reaches the terminal: foreign text is escaped, and only fairlead clears the screen."""

from __future__ import annotations

import contextlib
import re
import sys

from agent.core import text

TYPE_CHECKING = False  # type checkers know this name; that of `typing` takes long to load
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TextIO

_CLEAR = "\033[2J\033[H"
_COLOUR = re.compile(r"(\033\[\d{1,2}m)")


class _Visible:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, value: str) -> int:
        if value.isprintable() or value == "\n":
            return self._stream.write(value)
        parts = _COLOUR.split(value)
        return self._stream.write("".join(p if _COLOUR.fullmatch(p) else text.visible(p) for p in parts))

    def clear(self) -> None:
        self._stream.write(_CLEAR)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def clear() -> None:
    """The screen, if standard output is a terminal."""
    if isinstance(sys.stdout, _Visible) and sys.stdout.isatty():
        sys.stdout.clear()


@contextlib.contextmanager
def visible() -> Iterator[None]:
    """Standard output and standard error, meanwhile."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Visible(out), _Visible(err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
