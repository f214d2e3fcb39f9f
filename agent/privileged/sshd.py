"""Where sshd listens, by what the kernel says now: a configuration file may be about to change, or unused."""

from collections.abc import Iterator
from pathlib import Path

from agent.core.reasons import Reason
from agent.privileged import Refusal

_PROC = Path("/proc")
_LISTENING = "0A"  # TCP_LISTEN, as /proc/net/tcp writes it


def ports() -> frozenset[int]:
    """The TCP ports of this network namespace on which a process named sshd listens."""
    listeners = dict(_listeners())
    return frozenset(listeners[inode] for inode in _sockets_of_sshd() if inode in listeners)


def _listeners() -> Iterator[tuple[str, int]]:
    """(inode, port) of each listening socket."""
    for table in ("thread-self/net/tcp", "thread-self/net/tcp6"):
        path = _PROC / table
        if not path.exists():  # no IPv6 here
            continue
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING:
                yield fields[9], int(fields[1].rpartition(":")[2], 16)


def _sockets_of_sshd() -> Iterator[str]:
    for comm in _PROC.glob("[0-9]*/comm"):
        try:
            if comm.read_text() == "sshd\n":
                yield from _sockets(comm.with_name("fd"))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended, and listens no more


def _sockets(fds: Path) -> Iterator[str]:
    """The inodes of a process's sockets. What cannot be looked at may be an operator's way in."""
    try:
        for fd in fds.iterdir():
            target = str(fd.readlink())
            if target.startswith("socket:["):
                yield target[len("socket:[") : -1]
    except PermissionError:
        detail = f"cannot tell where sshd listens: reading {fds} is not permitted"
        raise Refusal(detail, Reason.REDIRECT_FORBIDDEN) from None
