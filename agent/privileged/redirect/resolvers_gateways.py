"""What a host needs to be reached and to reach others: resolvers and gateways, as the kernel and libc see them."""

import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from agent.core.redirect import Address

_RESOLVERS = Path("/etc/resolv.conf")
_ROUTES, _ROUTES6 = (Path("/proc/thread-self/net") / name for name in ("route", "ipv6_route"))
_MOST = 1 << 16  # bytes


def resolvers() -> frozenset[Address]:
    """The nameservers; none where none is configured."""
    return frozenset(_nameservers(_read(_RESOLVERS)))


def gateways() -> frozenset[Address]:
    """The next hop of each default route."""
    return frozenset([*_gateways4(_read(_ROUTES)), *_gateways6(_read(_ROUTES6))])


def _nameservers(text: str) -> Iterator[Address]:
    for line in text.splitlines():
        match line.split():
            case ["nameserver", server, *_]:
                try:
                    yield ip_address(server.partition("%")[0])
                except ValueError:
                    continue  # libc skips it likewise


def _gateways4(text: str) -> Iterator[Address]:
    """Destination, gateway and mask are words in the machine's byte order."""
    for line in text.splitlines()[1:]:
        _, destination, gateway, _, _, _, _, mask, *_ = line.split()
        if destination == mask == "00000000" != gateway:
            yield ip_address(int(gateway, 16).to_bytes(4, sys.byteorder))


def _gateways6(text: str) -> Iterator[Address]:
    for line in text.splitlines():
        destination, length, _, _, gateway, *_ = line.split()
        if int(destination, 16) == int(length, 16) == 0 != int(gateway, 16):
            yield ip_address(bytes.fromhex(gateway))


def _read(path: Path) -> str:
    try:
        with path.open(errors="replace") as file:
            return file.read(_MOST)
    except FileNotFoundError:  # no resolvers, or no IPv6
        return ""
