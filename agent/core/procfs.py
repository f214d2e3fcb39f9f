"""Parses the content of /proc. The adapters read the files."""

import itertools
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from agent.core.addresses import plain
from agent.core.late import dataclass

LISTEN = "0A"


@dataclass(frozen=True)
class Stat:
    """`state`: one letter, Z for a process that is dead and not reaped. `start_ticks`: clock ticks from
    boot to its start, which a clock that jumps does not change. `name`: its program's, or one that it chose."""

    state: str
    start_ticks: int
    name: str = ""


def stat(text: str) -> Stat:
    """/proc/PID/stat. The name in it may hold spaces and brackets, so fields count from its last bracket."""
    before, _, after = text.rpartition(")")
    fields = after.split()
    return Stat(fields[0], int(fields[19]), before.partition("(")[2])


def parent(stat: bytes) -> int:
    """The pid of its parent, from /proc/PID/stat."""
    return int(stat.rpartition(b")")[2].split()[1])


@dataclass(frozen=True)
class Socket:
    port: int  # of this end
    state: str
    inode: str


def sockets(lines: Iterable[str]) -> Iterator[Socket]:
    """From the lines of /proc/net/tcp or tcp6."""
    for line in itertools.islice(lines, 1, None):
        _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
        yield Socket(int(local.rpartition(":")[2], 16), state, inode)


def control_groups(text: str) -> tuple[str, str]:
    """/proc/PID/cgroup: the path in the hierarchy of version 2, and in version 1's for memory; "" where it is in
    none such."""
    lines = [line.split(":", 2) for line in text.splitlines()]
    v2 = next((path for number, _, path in lines if number == "0"), "")
    return v2, next((path for _, kinds, path in lines if "memory" in kinds.split(",")), "")


@dataclass(frozen=True)
class Listener:
    place: tuple[str, int]  # address and port
    uid: int  # of its socket
    inode: str


def listening(lines: Iterable[str]) -> Iterator[Listener]:
    """From the lines of /proc/net/tcp or tcp6.

    The kernel lists listeners before connections, so the reading of a lazy source ends with them.
    """
    for line in itertools.islice(lines, 1, None):
        _, local, _, state, rest = line.split(None, 4)
        if state != LISTEN:
            break
        _, _, _, uid, _, inode, *_ = rest.split()
        yield Listener(place(local), int(uid), inode)


@dataclass(frozen=True)
class Connection:
    """A socket that does not listen: addresses and ports, and whose it is; an orphan of the kernel is uid 0's."""

    local: tuple[str, int]
    remote: tuple[str, int]
    state: str
    uid: int


# ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT: bytes may still come or go, in one direction at least.
CARRIES = frozenset({"01", "04", "05", "08"})


def connections(lines: Iterable[str], uid: int) -> list[Connection]:
    """That user's, from the lines of /proc/net/tcp or tcp6."""
    parsed = []
    for line in itertools.islice(lines, 1, None):
        _, local, remote, state, _, _, _, owner, *_ = line.split()
        if state != LISTEN and int(owner) == uid:
            parsed.append(Connection(place(local), place(remote), state, uid))
    return parsed


def arrivals(lines: Iterable[str], *peers: IPv4Address | IPv6Address) -> dict[int, tuple[int, int]]:
    """Port of the peer → local port and uid of each connection with these, from the lines of /proc/net/tcp or
    tcp6. One that is not accepted yet is of its listener's user."""
    found, ends = {}, [text for peer in peers for text in _texts(peer)]
    for line in itertools.islice(lines, 1, None):
        if any(end in line for end in ends):
            _, local, remote, _, _, _, _, uid, *_ = line.split()
            address, port = remote.split(":")
            if address in ends:
                found[int(port, 16)] = int(local.rpartition(":")[2], 16), int(uid)
    return found


def _texts(address: IPv4Address | IPv6Address) -> tuple[str, ...]:
    """How it stands there; a socket of both versions has an IPv4 address as one of ::ffff:0:0/96."""
    raw = address.packed
    words = [raw[at : at + 4] for at in range(0, len(raw), 4)]
    text = "".join((word[::-1] if sys.byteorder == "little" else word).hex().upper() for word in words)
    mapped = _texts(ip_address(bytes(10) + b"\xff\xff" + raw)) if address.version == 4 else ()
    return (text, *mapped)


def place(text: str) -> tuple[str, int]:
    """Address and port of one end. The address stands there as 32-bit words in the machine's own byte order; a
    socket of both IP versions may be bound to an IPv4 address."""
    address, port = text.split(":")
    raw = bytes.fromhex(address)
    words = [raw[at : at + 4] for at in range(0, len(raw), 4)]
    ordered = [word[::-1] for word in words] if sys.byteorder == "little" else words
    return str(plain(ip_address(b"".join(ordered)))), int(port, 16)


def uids(status: bytes) -> set[int]:
    """/proc/PID/status: the users of the process, real, effective, saved and of the file system."""
    line = next((line for line in status.split(b"\n") if line.startswith(b"Uid:")), b"Uid:")
    return set(map(int, line.split()[1:]))
