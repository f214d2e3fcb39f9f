"""What a verb prints for an exception that is a bug: one line, and where the trace is.

The trace is never written to a place where another user may have put something else: for root a folder of root
below /var/log, for others their own state folder. Where neither is there, or the journal takes standard error, it
is printed.
"""

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Final

from agent.cli.kit.exits import Exit, complain
from agent.host import Host

_KEPT: Final = 10  # traces in a folder
_LONGEST: Final = 200  # characters of the cause
_ENDING: Final = ".trace"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def reported(error: Exception, verb: str, prefix: str) -> Exit:
    trace = "".join(traceback.format_exception(error))
    words = " ".join(str(error).split())
    cause = f"{type(error).__name__}: {words}" if words else type(error).__name__
    where = "" if _journal() else _written(trace, verb, Host.below(prefix))
    if not where:
        print(trace, end="", file=sys.stderr)
    complain(f"cannot finish {verb}: this is a bug: {cause[:_LONGEST]}; its trace is {where or 'above'}")
    return Exit.BUG


def _journal() -> bool:
    """Standard error is the journal's, as systemd.exec(5) lets a program find out."""
    try:
        seen = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{seen.st_dev}:{seen.st_ino}"


def _written(trace: str, verb: str, host: Host) -> str:
    """The file; "": there is no safe place for it."""
    try:
        place = host.traces if _root() else _own()
        place.mkdir(mode=0o755 if _root() else 0o700, parents=True, exist_ok=True)
        folder = os.open(place, _FOLDER)
    except (OSError, RuntimeError):
        return ""
    try:
        return str(place / _in(folder, trace, verb))
    except OSError:
        return ""
    finally:
        os.close(folder)


def _root() -> bool:
    return os.geteuid() == 0


def _own() -> Path:
    """Raises RuntimeError: this user has no home."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if state.startswith("/") else Path.home() / ".local/state"
    return base / "fairlead"


def _in(folder: int, trace: str, verb: str) -> str:
    """Raises OSError: another user owns the folder, or may write in it."""
    seen = os.fstat(folder)
    if seen.st_uid != os.geteuid() or seen.st_mode & 0o022:
        raise PermissionError
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{verb}-{os.getpid()}{_ENDING}"
    with os.fdopen(os.open(name, _NEW, 0o600, dir_fd=folder), "w", errors="backslashreplace") as file:
        file.write(trace)
    old = sorted(one for one in os.listdir(folder) if one.endswith(_ENDING))[:-_KEPT]
    for one in old:
        os.unlink(one, dir_fd=folder)
    return name
