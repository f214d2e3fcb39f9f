"""An interface of this host whose far end is this program: connections come in as from outside.

A host cannot dial its own inbound redirect. A device of the kind tun is an interface whose far end is a file: what
is written there comes in like a packet from a network, and passes the same rules. Unlike a veth pair in a network
namespace, it needs CAP_NET_ADMIN and no CAP_SYS_ADMIN, has no second stack behind it that would answer, and the
kernel removes it with its routes when this program ends, however it ends.

Law: it disturbs no traffic. It adds one route to one unused address, for as long as the test takes. No connection
is completed: the first answer gets a reset, so an application never sees one.
"""

import fcntl
import os
import secrets
import select
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import Final

from agent.core import procfs
from agent.core.late import dataclass
from agent.core.redirect import Address, Network, tcp_segments
from agent.core.redirect.tcp_segments import ACK, RST, SYN, Segment
from agent.host.listeners import tables
from agent.privileged.system import programs, subnets

NAME: Final = "fairlead-test"
PATIENCE: Final = 0.3  # seconds for all answers together; what a firewall drops gets none
_DEVICE: Final = "/dev/net/tun"
_SET, _LAYOUT, _TUN, _BARE = 0x400454CA, "16sH22x", 0x0001, 0x1000  # TUNSETIFF, IFF_TUN, IFF_NO_PI
_PACKET: Final = 1 << 16
# Reserved for documentation, so in use nowhere.
_SPARE: Final = tuple(map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")))

Place = tuple[Address, int]


class Impossible(Exception):
    """No such interface can be made here; the text says why."""


@dataclass(frozen=True)
class Answer:
    """`port`: of the socket that the connection reached, whatever was dialled, and `uid`: whose it is; None: none
    of this host's."""

    accepted: bool
    port: int | None = None
    uid: int | None = None


class Wire:
    def __init__(self, tun: int, sources: Mapping[int, Address]) -> None:
        self._tun, self._sources = tun, sources

    def dial(self, places: Iterable[Place]) -> Mapping[Place, Answer]:
        """The first answer of each; nothing of those that gave none, or that this interface does not reach. Raises
        Impossible."""
        pending: dict[int, Segment] = {}
        for address, port in places:
            if source := self._sources.get(address.version):
                # A port of its own each time: the kernel remembers how it has translated the last connection.
                own = _free(pending)
                pending[own] = Segment(source, own, address, port, SYN, secrets.randbits(31))
        heard = self._heard(pending)
        arrived = self._arrived()
        for port in heard:
            self._reset(pending[port])
        answers = {port: Answer(yes, *(arrived.get(port, ()) if yes else ())) for port, yes in heard.items()}
        return {(pending[port].destination, pending[port].to_port): answer for port, answer in answers.items()}

    def _heard(self, pending: Mapping[int, Segment]) -> dict[int, bool]:
        """Own port → whether it was accepted. A port without an answer is dialled once more."""
        heard: dict[int, bool] = {}
        for _ in range(2):
            for port in pending.keys() - heard.keys():
                self._send(pending[port])
            until = time.monotonic() + PATIENCE / 2
            while pending.keys() - heard.keys() and (left := until - time.monotonic()) > 0:
                if select.select([self._tun], [], [], left)[0]:
                    segment = tcp_segments.read(os.read(self._tun, _PACKET))
                    if segment and segment.to_port in pending and segment.flags & (RST | ACK):
                        heard[segment.to_port] = not segment.flags & RST
        return heard

    def _arrived(self) -> dict[int, tuple[int, int]]:
        counts: dict[int, tuple[int, int]] = {}
        for table in tables():
            with table.open() as lines:
                counts |= procfs.arrivals(lines, *self._sources.values())
        return counts

    def _reset(self, asked: Segment) -> None:
        ended = Segment(asked.source, asked.port, asked.destination, asked.to_port, RST, asked.sequence + 1)
        self._send(ended)

    def _send(self, segment: Segment) -> None:
        try:
            os.write(self._tun, tcp_segments.packed(segment))
        except OSError as error:  # another program has set it down
            raise Impossible(f"cannot send through {NAME}: {error.strerror}") from None


@contextmanager
def wire(avoid: Iterable[Network] = ()) -> Iterator[Wire]:
    """`avoid`: networks that its far end must not be in. Raises Impossible."""
    avoided = tuple(avoid)
    try:
        tun = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Impossible(f"cannot open {_DEVICE}: {error.strerror}") from None
    try:
        _attach(tun)
        yield Wire(tun, _routed(avoided))
    finally:
        os.close(tun)


def _attach(tun: int) -> None:
    try:
        fcntl.ioctl(tun, _SET, struct.pack(_LAYOUT, NAME.encode(), _TUN | _BARE))
    except OSError as error:
        raise Impossible(f"cannot make the interface {NAME}: {error.strerror}") from None
    # It asks for no address of its own, and the kernel sends nothing unasked.
    _ip("link", "set", NAME, "addrgenmode", "none")
    if problem := _ip("link", "set", NAME, "up"):
        raise Impossible(f"cannot set {NAME} up: {problem}")


def _routed(avoided: tuple[Network, ...]) -> dict[int, Address]:
    """IP version → the address at the far end. A version that this host lacks is absent."""
    problems = ["no address is free"]
    sources: dict[int, Address] = {}
    for source in _spare(avoided):
        if problem := _ip("route", "add", str(source), "dev", NAME):
            problems.append(problem)
        else:
            sources[source.version] = source
    if not sources:
        raise Impossible(f"cannot add a route to {NAME}: {problems[-1]}")
    return sources


def _spare(avoided: tuple[Network, ...]) -> Iterator[Address]:
    taken = (*avoided, *subnets.routed())
    for network in _SPARE:
        if not any(network.overlaps(other) for other in taken if other.version == 4):
            yield network[1 + secrets.randbelow(254)]
            break
    local = ip_address(bytes((0xFD,)) + secrets.token_bytes(15))  # RFC 4193: a random network
    if not any(local in network for network in avoided):
        yield local


def _ip(*words: str) -> str:
    """What it complains of; "" for nothing."""
    program = programs.find("ip")
    if program is None:
        return "the program ip is missing"
    done = programs.run(program, *words)
    return (done.stderr.strip() or "ip printed nothing") if done.returncode else ""


def _free(taken: Mapping[int, object]) -> int:
    while (port := 1024 + secrets.randbelow(64512)) in taken:
        pass
    return port
