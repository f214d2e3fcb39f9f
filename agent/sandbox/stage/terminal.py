"""The user's terminal, if there is one: its foreground process group, and how that is restored."""

import contextlib
import os
import signal
import stat
import sys
from collections.abc import Iterator


def can_ask() -> bool:
    """Whether there is input: from a terminal or a pipe, but not from /dev/null or a closed input."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return sys.stdin is not None and (os.isatty(0) or not stat.S_ISCHR(mode))


def is_file() -> bool:
    """A file never makes its reader wait, and an event loop cannot watch it."""
    return stat.S_ISREG(os.fstat(0).st_mode)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """When this ends, the terminal's foreground is this process's group again, whatever ran before. A program
    that manages jobs, as a shell does, takes the terminal for a group of its own."""
    try:
        yield
    finally:
        take()


def lead() -> None:
    """Make this process a group of its own, in the foreground: inside a pid namespace the group of its parents has
    no number, so no process there could return the terminal to it."""
    if os.isatty(0):
        if os.getpgrp() != os.getpid():
            os.setpgid(0, 0)
        take()


def take() -> None:
    if not os.isatty(0):
        return
    # The kernel stops a background process that asks for the foreground, unless it blocks this signal.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        # No controlling terminal of this session: nothing to take.
        with contextlib.suppress(OSError):
            os.tcsetpgrp(0, os.getpgrp())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
