"""Texts of IP addresses as values, so that two spellings of one address are equal.

An IPv4-mapped IPv6 address (::ffff:192.0.2.10) is that IPv4 address. Only link-local addresses
have a zone (%eth0, RFC 4007), so any other address is the same with and without one.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Key: TypeAlias = Address | str  # as comparable() gives it

_MAPPED = IPv6Network("::ffff:0:0/96")


def address(text: str) -> Address:
    """Raises ValueError."""
    return plain(ip_address(text.strip()))


def plain(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address if address.is_link_local else IPv6Address(address.packed)


def network(text: str) -> Network:
    """Raises ValueError."""
    parsed = ip_network(text.strip())
    if isinstance(parsed, IPv6Network) and parsed.subnet_of(_MAPPED):
        return IPv4Network((parsed.network_address.packed[12:], parsed.prefixlen - _MAPPED.prefixlen))
    return parsed


def comparable(text: str) -> Key:
    """The value; for a text that is not an address, the text, which equals no address."""
    try:
        return address(text)
    except ValueError:
        return text
