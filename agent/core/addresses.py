"""Texts of IP addresses as values, so that two spellings of one address are equal.

An IPv4-mapped IPv6 address (::ffff:192.0.2.10) is that IPv4 address. Only link-local addresses
have a zone (%eth0, RFC 4007), so any other address is the same with and without one.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")


def address(text: str) -> Address:
    """Raises ValueError."""
    return plain(ip_address(text.strip()))


def plain(found: Address) -> Address:
    if isinstance(found, IPv4Address):
        return found
    if found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found if found.is_link_local else IPv6Address(found.packed)


def network(text: str) -> Network:
    """Raises ValueError."""
    found = ip_network(text.strip())
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        return IPv4Network((found.network_address.packed[12:], found.prefixlen - _MAPPED.prefixlen))
    return found


def comparable(text: str) -> Address | str:
    """The value; for a text that is not an address, the text, which equals no address."""
    try:
        return address(text)
    except ValueError:
        return text
