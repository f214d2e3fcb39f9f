"""Foreign text: process names, comments, interfaces, answers of servers. Its bytes may not be UTF-8, and its
characters may control a terminal.

Law: it is read with `surrogateescape`, so that it can be written back byte for byte, and shown escaped: a detail
when it is made (`detail`), and all text once more when it is printed (`visible`).
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping

TYPE_CHECKING = False  # type checkers know this name; that of `typing` takes long to load
if TYPE_CHECKING:
    from typing import Any, Final

READ: Final = "surrogateescape"
ESCAPED: Final = "fairlead.escaped"  # a handler of encoding errors, for what is printed


MOST: Final = 1000  # characters of a detail


def visible(value: str) -> str:
    """Control characters, those that change the direction of text, and bytes that are not UTF-8, escaped. Line
    ends and tabs stay."""
    return value if value.isprintable() else "".join(map(_visible, value))


def detail(value: str) -> str:
    """On one line, visible, and of limited length."""
    plain = visible(value if value.isprintable() else " ".join(value.split()))
    return plain if len(plain) <= MOST else plain[: MOST - 1] + "…"


def _visible(letter: str) -> str:
    return letter if letter.isprintable() or letter in "\n\t" else _one(letter)


def shown(value: object) -> object:
    """The same value with every text in it visible."""
    match value:
        case str():
            return visible(value)
        case Mapping():
            return {shown(key): shown(one) for key, one in value.items()}
        case list() | tuple():
            return [shown(one) for one in value]
    return value


def shown_object(found: dict[str, Any]) -> dict[str, Any]:
    return {key: shown(value) for key, value in found.items()}


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_one, error.object[error.start : error.end])), error.end


def _one(letter: str) -> str:
    """A byte that was read by `surrogateescape`, a control character, or a letter that an output lacks."""
    number = ord(letter)
    if number < 0x80:
        return f"\\x{number:02x}"
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return letter.encode("ascii", "backslashreplace").decode()


codecs.register_error(ESCAPED, _escape)
