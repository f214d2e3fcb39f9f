"""How a call ends: gRPC's codes, and what HTTP's own mean where a server does not speak gRPC.

Both tables are of the specification (gRPC over HTTP2; HTTP to gRPC Status Code Mapping).
"""

from enum import IntEnum
from typing import Final

from h2.errors import ErrorCodes


class Code(IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Failed(Exception):
    """A call did not end with OK. `words`: the server's own, or what is wrong with its answer."""

    def __init__(self, code: Code, words: str) -> None:
        super().__init__(f"{code.name}: {words}")
        self.code, self.words = code, words


_BY_NUMBER: Final = {str(int(code)): code for code in Code}
_BY_HTTP: Final = {
    "400": Code.INTERNAL,
    "401": Code.UNAUTHENTICATED,
    "403": Code.PERMISSION_DENIED,
    "404": Code.UNIMPLEMENTED,
    "429": Code.UNAVAILABLE,
    "502": Code.UNAVAILABLE,
    "503": Code.UNAVAILABLE,
    "504": Code.UNAVAILABLE,
}
_BY_RESET: Final = {
    ErrorCodes.REFUSED_STREAM: Code.UNAVAILABLE,
    ErrorCodes.CANCEL: Code.CANCELLED,
    ErrorCodes.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    ErrorCodes.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}


def of_trailer(text: str) -> Code:
    return _BY_NUMBER.get(text, Code.UNKNOWN)


def of_http(status: str) -> Code:
    return _BY_HTTP.get(status, Code.UNKNOWN)


def of_reset(code: ErrorCodes | int | None) -> Code:
    return _BY_RESET.get(code, Code.INTERNAL) if isinstance(code, ErrorCodes) else Code.INTERNAL


def name(code: ErrorCodes | int | None) -> str:
    """Of HTTP/2's codes."""
    return code.name if isinstance(code, ErrorCodes) else f"code {code}"
