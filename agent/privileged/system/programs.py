"""Programs that root runs, from fixed places and in a clean environment: the helper's caller must not choose what
root runs."""

import os
import subprocess
from collections.abc import Callable
from typing import Final, TypeVar

from agent.core.reason import Reason
from agent.core.text import READ
from agent.privileged import NotSet, Refusal

T = TypeVar("T")

SET: Final = "set the rules"
_PLACES: Final = ("/usr/sbin", "/sbin", "/usr/bin")
_ENVIRONMENT: Final = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

_NOT_PERMITTED: Final = ("Operation not permitted", "Permission denied")
_NOT_THERE: Final = (
    "No such file or directory",
    "not supported",
    "Invalid argument",
    "Unable to initialize Netlink socket",
    "does not exist",
    "No chain/target/match by that name",
)


def find(name: str) -> str | None:
    paths = (f"{place}/{name}" for place in _PLACES)
    return next((path for path in paths if os.access(path, os.X_OK)), None)


class TookTooLong(Exception):
    """A program was ended at its time limit."""


def run(
    program: str, *arguments: str, input: str = "", within: float | None = None
) -> subprocess.CompletedProcess[str]:
    """`within`: seconds; then raises TookTooLong. Names that other programs chose pass unchanged, byte for
    byte."""
    try:
        return subprocess.run(
            [program, *arguments],
            input=input,
            capture_output=True,
            encoding="utf-8",
            errors=READ,
            env=_ENVIRONMENT,
            cwd="/",
            check=False,
            timeout=within,
        )
    except subprocess.TimeoutExpired:
        raise TookTooLong from None


def there(read: Callable[[], T]) -> T | None:
    """What it reads; None: this kernel lacks what it is read from, so nothing is there. Raises Refusal."""
    try:
        return read()
    except Refusal as refusal:
        if refusal.reason is not Reason.REDIRECT_UNSUPPORTED:
            raise
        return None


def missing(name: str) -> Refusal:
    places = " or ".join(f"{place}/{name}" for place in _PLACES)
    return Refusal(f"cannot find {name}: no program at {places}", Reason.REDIRECT_UNSUPPORTED)


def refusal(verb: str, errors: str, needs: str) -> Refusal:
    """`needs`: the parts of the kernel that the program works on."""
    made = NotSet if verb == SET else Refusal
    message = " ".join(line.strip() for line in errors.splitlines() if line.strip(" ^"))
    if any(words in errors for words in _NOT_PERMITTED):
        return made(f"cannot {verb}: CAP_NET_ADMIN is missing ({message})", Reason.REDIRECT_FORBIDDEN)
    if any(words in errors for words in _NOT_THERE):
        detail = f"cannot {verb}: this kernel lacks a part of {needs} ({message})"
        return made(detail, Reason.REDIRECT_UNSUPPORTED)
    return made(f"cannot {verb}: {message or 'the program printed nothing'}")
