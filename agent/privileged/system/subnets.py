"""The subnets that this host is a member of: what its routes reach without a gateway, loopback apart."""

import sys
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from agent.core.redirect import Network
from agent.core.text import READ

_ROUTES, _ROUTES6 = (Path("/proc/thread-self/net") / name for name in ("route", "ipv6_route"))
_GATEWAY, _UP, _REJECT, _LOCAL = 0x2, 0x1, 0x200, 0x80000000


def connected() -> frozenset[Network]:
    return frozenset([*_four(_read(_ROUTES)), *_six(_read(_ROUTES6) if _ROUTES6.exists() else "")])


def routed() -> frozenset[Network]:
    """Every IPv4 network that a route names, by a gateway or not; the default route names none."""
    rows = (line.split() for line in _read(_ROUTES).splitlines()[1:])
    return frozenset(_four_network(row[1], row[7]) for row in rows if int(row[7], 16))


def _read(path: Path) -> str:
    """With the names of interfaces, which need not be UTF-8."""
    return path.read_text(encoding="ascii", errors=READ)


def _four(text: str) -> Iterator[Network]:
    for line in text.splitlines()[1:]:
        _, destination, _, flags, _, _, _, mask, *_ = line.split()
        if int(flags, 16) & (_UP | _GATEWAY | _REJECT) == _UP and int(mask, 16):
            yield _four_network(destination, mask)


def _four_network(destination: str, mask: str) -> IPv4Network:
    """They are words in the machine's byte order."""
    start = int(destination, 16).to_bytes(4, sys.byteorder)
    return IPv4Network((start, int(mask, 16).bit_count()))


def _six(text: str) -> Iterator[Network]:
    for line in text.splitlines():
        destination, length, _, _, gateway, _, _, _, flags, interface = line.split()
        plain = int(flags, 16) & (_UP | _GATEWAY | _REJECT | _LOCAL) == _UP
        network = IPv6Network((bytes.fromhex(destination), int(length, 16)))
        shared = network.prefixlen and not (network.is_link_local or network.is_multicast)
        if plain and shared and not int(gateway, 16) and interface != "lo":
            yield network
