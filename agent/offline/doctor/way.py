"""The way to a socket: each folder above it, as a user who is not root meets it."""

import errno
import socket
import stat
from pathlib import Path

from agent.core.doctor.identity import Way
from agent.core.reasons import Fault, Reason
from agent.offline.doctor.users import User

_PASS, _READ_WRITE = 0o1, 0o6


def to(path: str, users: list[User]) -> Way:
    """By the modes of the folders, so that no process of these users is needed. It connects as this process."""
    place = Path(path)
    try:
        place.stat()
    except PermissionError:
        return Way(path, None, _closed(place, users) or {"this user": str(place.parent)})
    except OSError:
        return Way(path, Fault(Reason.WORKLOAD_API_ABSENT, f"{path} does not exist"), {})
    closed = _closed(place, users)
    return Way(path, None if closed else _answers(path), closed)


def _answers(path: str) -> Fault | None:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(1.0)
    try:
        connection.connect(path)
    except PermissionError:  # as this process; the modes say what others meet
        return None
    except TimeoutError:
        return Fault(Reason.WORKLOAD_API_SILENT, f"{path} accepts no connection")
    except OSError as error:
        cause = error.strerror or errno.errorcode.get(error.errno or 0, "")
        return Fault(Reason.WORKLOAD_API_REFUSED, f"cannot connect to {path}: {cause}")
    finally:
        connection.close()
    return None


def _closed(place: Path, users: list[User]) -> dict[str, str]:
    """User → the first that this user may not pass."""
    found: dict[str, str] = {}
    for user in users:
        parts = [*reversed(place.parents), place]
        blocked = next(
            (part for part in parts if not _open(part, user, _READ_WRITE if part == place else _PASS)), None
        )
        if blocked is not None:
            found[user.name] = str(blocked)
    return found


def _open(part: Path, user: User, wanted: int) -> bool:
    """By owner, group and mode; what this process may not see counts as open."""
    if user.uid == 0:
        return True
    try:
        status = part.stat()
    except OSError:
        return True
    if part.is_symlink():
        return _open(part.resolve(), user, wanted)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == user.uid:
        mode >>= 6
    elif status.st_gid == user.gid:
        mode >>= 3
    return mode & wanted == wanted
