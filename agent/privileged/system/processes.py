"""The sockets that processes of root hold, by the names of those processes.

Law: a name says nothing of another user's process, and another user's descriptors are never counted. So the work
depends on root's processes, and on nothing that another user can make large but the number of processes.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from agent.core import procfs
from agent.core.reason import Reason
from agent.privileged import Refusal

ROOT: Final = 0
_PROC: Final = "/proc"
_MOST: Final = 4096  # descriptors of one process; a server holds its listeners among the first
_ENDED: Final = (FileNotFoundError, ProcessLookupError)


def sockets(names: frozenset[bytes]) -> frozenset[str]:
    """The inodes. Processes come and go while this looks. Raises Refusal."""
    return frozenset(inode for pid in _processes(names) for inode in _sockets(pid))


def _processes(names: frozenset[bytes]) -> Iterator[str]:
    """Of root and of these names, in this network namespace."""
    mine = Path(_PROC, "thread-self/ns/net").readlink()
    with os.scandir(_PROC) as entries:
        for entry in entries:
            try:
                if entry.name.isdecimal() and entry.stat().st_uid == ROOT and _is(entry.name, names, mine):
                    yield entry.name
            except _ENDED:
                continue  # it no longer listens


def _is(pid: str, names: frozenset[bytes], network: Path) -> bool:
    """A program that cannot be traced belongs to root in /proc, also where another user runs it; its status names
    its users."""
    process = Path(_PROC, pid)
    if (process / "comm").read_bytes().removesuffix(b"\n") not in names:  # a name need not be UTF-8
        return False
    if procfs.uids((process / "status").read_bytes()) != {ROOT}:
        return False
    try:
        return (process / "ns/net").readlink() == network
    except PermissionError:
        raise _refusal(process) from None


def _sockets(pid: str) -> Iterator[str]:
    """A process that cannot be read may be an operator's SSH server. Raises Refusal."""
    try:
        with os.scandir(f"{_PROC}/{pid}/fd") as fds:
            for fd in islice(fds, _MOST):
                target = _target(fd)
                if target.startswith("socket:["):
                    yield target[len("socket:[") : -1]
    except PermissionError:
        raise _refusal(Path(_PROC, pid, "fd")) from None
    except _ENDED:
        return


def _refusal(path: Path) -> Refusal:
    detail = f"cannot find where sshd listens: reading {path} is not permitted"
    return Refusal(detail, Reason.REDIRECT_FORBIDDEN)


def _target(fd: "os.DirEntry[str]") -> str:
    """Empty for one that has been closed: the others are still read."""
    try:
        return str(Path(fd.path).readlink())
    except _ENDED:
        return ""
