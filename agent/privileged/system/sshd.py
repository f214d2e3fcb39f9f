"""The ports that operators log in by: by the kernel's listeners, and by the configuration of sshd and systemd."""

import functools
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from agent.core import procfs
from agent.core.reasons import Reason
from agent.core.redirect import Address
from agent.privileged import Refusal
from agent.privileged.system import programs

_PROC = Path("/proc")


# Servers of SSH, as the kernel names their processes.
SERVERS: Final = frozenset({"sshd", "dropbear", "tinysshd", "tailscaled", "teleport"})


def ports(session: frozenset[int] = frozenset()) -> frozenset[int]:
    """The TCP ports by which an operator may come in: those on which a server of SSH listens in this network
    namespace, is configured to, or has systemd listen, and those of the session that asks."""
    return listening(SERVERS, uid=0) | _configured() | _of_socket_units() | session


def listening(names: frozenset[str], uid: int | None = None) -> frozenset[int]:
    """The TCP ports of this network namespace on which a process of one of these names listens. `uid`: whose
    sockets count; any process may take any name."""
    return frozenset(port for _, port in places(names, uid))


def places(names: frozenset[str], uid: int | None = None) -> frozenset[tuple[Address, int]]:
    """The same, with the address of each; "::" or "0.0.0.0" where it is every one."""
    listeners = {inode: place for inode, place, owner in _listeners() if uid in (None, owner)}
    places = {listeners[inode] for inode in _sockets_of(names) if inode in listeners}
    return frozenset((ip_address(address), port) for address, port in places)


def of_configuration(text: str) -> frozenset[int]:
    """What `sshd -T` says: lower-case keywords, a line each."""
    words = [line.split() for line in text.splitlines()]
    ports = {int(line[1]) for line in words if line[:1] == ["port"] and line[1].isdecimal()}
    listen = {line[1].rpartition(":")[2] for line in words if line[:1] == ["listenaddress"]}
    return frozenset(ports | {int(port) for port in listen if port.isdecimal()})


def of_sockets(text: str) -> frozenset[int]:
    """What `systemctl show` says of socket units, a paragraph each."""
    ports = set()
    for unit in text.split("\n\n"):
        lines = [line.partition("=") for line in unit.splitlines()]
        if ("UnitFileState", "=", "enabled") in lines or ("ActiveState", "=", "active") in lines:
            streams = [value.removesuffix(" (Stream)") for key, _, value in lines if key == "Listen"]
            ports |= {int(port) for port in (one.rpartition(":")[2] for one in streams) if port.isdecimal()}
    return frozenset(ports)


# Read once, since this program serves one request; listeners are read each time.
@functools.cache
def _configured() -> frozenset[int]:
    """Where sshd cannot start with its configuration, the present listeners count."""
    program = programs.find("sshd")
    return of_configuration(programs.run(program, "-T").stdout) if program else frozenset()


@functools.cache
def _of_socket_units() -> frozenset[int]:
    """Where systemd does not run, it listens for no unit."""
    program = programs.find("systemctl")
    if program is None or not Path("/run/systemd/system").exists():
        return frozenset()
    properties = ("--property=Listen", "--property=UnitFileState", "--property=ActiveState")
    return of_sockets(programs.run(program, "show", *properties, "ssh.socket", "sshd.socket").stdout)


def _listeners() -> Iterator[tuple[str, tuple[str, int], int]]:
    """(inode, (address, port), uid) of each listening socket."""
    for table in ("thread-self/net/tcp", "thread-self/net/tcp6"):
        path = _PROC / table
        if not path.exists():  # no IPv6 here
            continue
        with path.open() as lines:
            next(lines)
            for fields in map(str.split, lines):
                if fields[3] != procfs.LISTEN:
                    break  # the kernel lists connections after those
                yield fields[9], procfs.place(fields[1]), int(fields[7])


_ENDED = (FileNotFoundError, ProcessLookupError)


def _sockets_of(names: frozenset[str]) -> Iterator[str]:
    """The inodes of the sockets of every process of these names. Processes come and go while this looks, and their
    names need not be UTF-8."""
    wanted = {name.encode() for name in names}
    for process in _PROC.iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if (process / "comm").read_bytes().removesuffix(b"\n") in wanted:
                yield from _sockets(process / "fd")
        except _ENDED:
            continue  # it no longer listens


def _sockets(fds: Path) -> Iterator[str]:
    """A process that cannot be read may be an operator's SSH server. Raises Refusal."""
    try:
        for fd in fds.iterdir():
            target = _target(fd)
            if target.startswith("socket:["):
                yield target[len("socket:[") : -1]
    except PermissionError:
        detail = f"cannot find where sshd listens: reading {fds} is not permitted"
        raise Refusal(detail, Reason.REDIRECT_FORBIDDEN) from None


def _target(fd: Path) -> str:
    """Empty for one that has been closed: the others are still read."""
    try:
        return str(fd.readlink())
    except _ENDED:
        return ""
