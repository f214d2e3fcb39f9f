"""Foreign text: process names, comments, interfaces. Its bytes may not be UTF-8.

Law: it is read with `surrogateescape`, so that it can be written back byte for byte, and shown escaped, so that
print and readers of JSON do not fail.
"""

import codecs
from collections.abc import Mapping
from typing import Final

READ: Final = "surrogateescape"
ESCAPED: Final = "fairlead.escaped"  # a handler of encoding errors, for what is printed


def shown(value: object) -> object:
    """The same value with each byte that is not UTF-8 as \\xNN, down to the last text in it."""
    match value:
        case str():
            return value.encode(errors=ESCAPED).decode()
        case Mapping():
            return {shown(key): shown(one) for key, one in value.items()}
        case list() | tuple():
            return [shown(one) for one in value]
    return value


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_one, error.object[error.start : error.end])), error.end


def _one(letter: str) -> str:
    """A byte that was read by `surrogateescape`, or a letter that an output lacks."""
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return letter.encode("ascii", "backslashreplace").decode()


codecs.register_error(ESCAPED, _escape)
