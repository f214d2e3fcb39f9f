"""Reads what root has prepared for a restart of the proxy, as any user.

Law: `os`, `fcntl`, `select` and `core.prepared` alone: see there. Only what root alone could write is used, and
only while every file that it was made from is the same.
"""

import fcntl
import os
import select
import stat
import sys
from collections.abc import Sequence

from agent.core import prepared
from agent.core.prepared import Plan

_MOST = 1 << 21  # bytes of a plan
_LOCK = "run/fairlead-helper.lock"
_NFT_WITHIN = 4.0  # seconds
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def folder(prefix: str) -> str:
    return os.path.join(prefix, prepared.FOLDER)


def plan(prefix: str) -> Plan | None:
    """None: there is none that holds now, so the tested path is to be taken."""
    found = _left(prefix)
    return found if found is not None and _holds(found) else None


def lost(prefix: str) -> str:
    """Why no plan holds; "": one does, as far as this user sees its sources."""
    found = _left(prefix)
    if found is None:
        return f"there is none in {folder(prefix)}"
    changed = (path for path, before in found.sources.items() if identity(path) not in ("", before))
    return next((f"{path} has changed" for path in changed), "")


def _left(prefix: str) -> Plan | None:
    """The plan that root has left, whether it holds or not."""
    try:
        if not _is_roots(os.lstat(folder(prefix))):
            return None
        return prepared.read(_read(os.path.join(folder(prefix), prepared.PLAN)))
    except (OSError, UnicodeDecodeError):
        return None


def _holds(found: Plan) -> bool:
    return all(identity(path) == before for path, before in found.sources.items())


def identity(path: str) -> prepared.Identity:
    """Of the file that a link leads to. One that cannot be seen is never the same."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return prepared.absent()
    except OSError:
        return ""
    return prepared.identity(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def _read(path: str) -> str:
    """Raises OSError: it is not root's, too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not _is_roots(status) or not stat.S_ISREG(status.st_mode) or status.st_size > _MOST:
            raise PermissionError("another user may have written it")
        return file.read(_MOST).decode()


def _is_roots(status: os.stat_result) -> bool:
    return status.st_uid == 0 and not status.st_mode & _WRITABLE


# as root --------------------------------------------------------------------------------------------


def load(prefix: str, found: Plan, script: str, slot: str = "") -> bool:
    """Set the rules of this script; False: they are not set. Only in place of rules of ours, under the privileged
    helper's lock, and while the plan holds. `slot`: that they name, which is recorded first: from then on no plan
    holds, and no other hook takes the end of the slot from before for the end of this one."""
    if not found.nft:
        return False
    try:
        lock = os.open(os.path.join(prefix, _LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        now = plan(prefix)
        path = os.path.join(folder(prefix), script)
        same = now is not None and prepared.written(now) == prepared.written(found)
        if not same:
            return False
        if slot:
            _name(prefix, slot)
        done = _run(found.nft, "-j", "-f", path)
        if slot and not done:
            os.unlink(os.path.join(prefix, prepared.SLOT))
        return done
    except OSError:  # another process sets rules now
        return False
    finally:
        os.close(lock)


def _name(prefix: str, slot: str) -> None:
    """Raises OSError."""
    path = os.path.join(prefix, prepared.SLOT)
    with open(f"{path}.new", "w") as file:
        file.write(f"{slot}\n")
    os.replace(f"{path}.new", path)


def has_rules(found: Plan) -> bool:
    """There are rules of ours."""
    return bool(found.nft) and _run(found.nft, "list", "table", "inet", "fairlead")


def _run(program: str, *arguments: str) -> bool:
    """It ended with 0, within its time."""
    silent = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in (0, 1, 2)]
    pid = os.posix_spawn(program, [program, *arguments], _ENVIRONMENT, file_actions=silent)
    process = os.pidfd_open(pid)
    try:
        if not select.select([process], [], [], _NFT_WITHIN)[0]:
            os.kill(pid, 9)
    finally:
        os.close(process)
    return os.waitpid(pid, 0)[1] == 0


def recorded(prefix: str, name: str) -> str:
    """ "": there is no such record."""
    try:
        return _read(os.path.join(folder(prefix), name))
    except (OSError, UnicodeDecodeError):
        return ""


def record(prefix: str, name: str, text: str) -> None:
    """Replace a record at once. What cannot be written does not keep the proxy from its policy or its start."""
    path = os.path.join(folder(prefix), name)
    try:
        os.makedirs(folder(prefix), 0o755, exist_ok=True)
        if not _is_roots(os.lstat(folder(prefix))):
            raise PermissionError("another user may write there")
        with open(f"{path}.new", "w") as file:
            file.write(text)
        os.replace(f"{path}.new", path)
    except OSError as error:
        print(f"cannot write {path}: {error.strerror or error}", file=sys.stderr)


def tested_path(prefix: str, arguments: Sequence[str]) -> int:
    """The hook that takes no plan, with all that it loads."""
    from pathlib import Path

    from agent.proxyunit import hooks

    return hooks.main(arguments, Path(prefix))


def take(prefix: str, name: str) -> bool:
    """There was a record of this name; it is removed."""
    try:
        os.unlink(os.path.join(folder(prefix), name))
    except OSError:
        return False
    return True
