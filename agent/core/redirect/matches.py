"""The field of a packet that a condition of nftables reads, and whether the condition holds.

Law: three answers; None is "cannot tell".
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from agent.core.redirect.rules import Address
from agent.core.redirect.walk import WIRE, Arrival

Value = frozenset[str] | Address | int
Listed = Callable[[object], Sequence[object] | None]  # the elements of a right side; None: they are not known

_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
_SYN, _ACK = 2, 16
_OTHERS = frozenset(
    {"udp", "udplite", "icmp", "icmpv6", "sctp", "dccp", "igmp", "arp", "esp", "ah", "comp", "gre"}
)


def both(found: Iterable[bool | None]) -> bool | None:
    """All of them: None where that cannot be told."""
    answers = list(found)
    return False if False in answers else None if None in answers else True


def condition(packet: Arrival, expression: object, listed: Listed) -> bool | None:
    match expression:
        case {"match": {"left": left}} if not possible(packet, left):
            return False  # of another protocol; so neither == nor != holds
        case {"match": {"op": "!=", "left": left, "right": right}}:
            held = equals(packet, left, right, listed)
            return None if held is None else not held
        case {"match": {"op": "==" | "in", "left": left, "right": right}}:
            return equals(packet, left, right, listed)
        case {"match": {"op": "<" | ">" | "<=" | ">=" as op, "left": left, "right": int(right)}}:
            actual = value(packet, left)
            return _ORDER[op](actual, right) if isinstance(actual, int) and not isinstance(actual, bool) else None
    return None


_ORDER: dict[str, Callable[[int, int], bool]] = {
    "<": int.__lt__,
    ">": int.__gt__,
    "<=": int.__le__,
    ">=": int.__ge__,
}


def possible(packet: Arrival, left: object) -> bool:
    """Whether a packet of this protocol has it at all; nft writes no condition for that."""
    other = "ip6" if packet.version == 4 else "ip"
    match left:
        case {"payload": {"protocol": str(protocol)}}:
            return protocol not in _OTHERS and protocol != other
        case {"&": [inner, _]}:
            return possible(packet, inner)
        case {"concat": [*parts]}:
            return all(possible(packet, part) for part in parts)
        case {"exthdr": _} | {"rt": _}:  # what opens a connection has no extension headers
            return packet.version == 6
    return True


def equals(packet: Arrival, left: object, right: object, listed: Listed) -> bool | None:
    items = listed(right)
    if not possible(packet, left):
        return False
    if items is None:
        return None
    match left:
        case {"concat": [*parts]}:
            answers = [_concat(packet, parts, item) for item in items]
        case {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, mask]}:
            flags, wanted = _bits(mask), _bits(right)
            return None if None in (flags, wanted) else _sent(packet) & (flags or 0) == wanted
        case {"payload": {"protocol": "tcp", "field": "flags"}}:
            answers = [_flag(packet, item) for item in items]
        case _:
            got = value(packet, left)
            answers = [None if got is None else is_in(item, got) for item in items]
    return True if True in answers else None if None in answers else False


def _concat(packet: Arrival, parts: Sequence[object], item: object) -> bool | None:
    match item:
        case {"elem": {"val": inner}}:
            return _concat(packet, parts, inner)
        case {"concat": [*items]} if len(items) == len(parts):
            got = [value(packet, part) for part in parts]
            return both(None if g is None else is_in(one, g) for g, one in zip(got, items, strict=True))
    return None


def _sent(packet: Arrival) -> int:
    if packet.later:
        return _ACK
    return _SYN | _ACK if packet.answers else _SYN


def _flag(packet: Arrival, item: object) -> bool | None:
    bits = _bits(item)
    return None if bits is None else bool(_sent(packet) & bits)


def _bits(given: object) -> int | None:
    """TCP flags as a number: written as one, as a name, as a list of either, or as names joined by |."""
    match given:
        case int():
            return given
        case str():
            return _FLAGS.get(given)
        case [*items] | {"|": [*items]}:
            bits = [_bits(item) for item in items]
            return None if None in bits else sum({bit for bit in bits if bit is not None})
    return None


def value(packet: Arrival, left: object) -> Value | bool | None:
    """What this packet has there, under every name that nft has for it; False: it has nothing there, so nothing
    fits; None: that is not known."""
    match left:
        case {"meta": {"key": str(key)}}:
            return _meta(packet, key)
        case {"ct": {"key": str(key), **rest}}:
            return _ct(packet, key, bool(rest))
        case {"fib": {"result": "type", "flags": [*flags]}}:
            return _kind(packet, packet.destination if "daddr" in flags else packet.source, "daddr" in flags)
        case {"fib": {"result": "type", "flags": "daddr"}}:
            return _kind(packet, packet.destination, True)
        case {"fib": {"flags": [*flags]}} if "saddr" in flags:
            # As rpfilter asks. A peer to which this host has another route is not foreseen.
            return frozenset({"True"}) if packet.comes else None
        case {"payload": {"protocol": "tcp" | "th", "field": "dport"}}:
            return packet.port
        case {"payload": {"protocol": "tcp" | "th", "field": "sport"}}:
            return packet.source_port
        case {"payload": {"protocol": "ip" | "ip6", "field": "saddr"}}:
            return packet.source
        case {"payload": {"protocol": "ip" | "ip6", "field": "daddr"}}:
            return packet.destination
        case {"payload": {"protocol": "ip" | "ip6", "field": "protocol" | "nexthdr"}}:
            return frozenset({"tcp", "6"})
        case {"payload": {"protocol": "ether", "field": "type"}}:
            return frozenset({"ip", "8", "2048"} if packet.version == 4 else {"ip6", "86dd", "34525"})
        case {"exthdr": {"name": "rt"}} | {"rt": _}:
            return False
    return None


def _meta(packet: Arrival, key: str) -> Value | bool | None:
    match key:
        case "iifname" | "iif" | "oifname" | "oif":
            if (key[0] == "i") is not packet.comes:
                return False
            return frozenset({packet.interface}) if packet.interface is not None else None
        case "l4proto":
            return frozenset({"tcp", "6"})
        case "nfproto" | "protocol":
            return frozenset({"ipv4", "ip"} if packet.version == 4 else {"ipv6", "ip6"})
        case "pkttype":
            return frozenset({"host", "unicast"})
    return None


def _ct(packet: Arrival, key: str, more: bool) -> Value | bool | None:
    match key:
        case "state":
            return frozenset({packet.state})
        case "direction" if packet.state != "invalid":
            return frozenset({"reply" if packet.answers else "original"})
        case "status" if packet.state == "invalid":
            return False
        case "status":  # firewalld lets in whatever was translated
            return frozenset({"dnat"}) if packet.translated else False
    return None


def _kind(packet: Arrival, address: Address | None, destination: bool) -> Value | None:
    if address is not None and address.is_loopback:
        return frozenset({"local"})
    if destination and packet.comes and packet.interface != "lo":
        return frozenset({"local"})
    if destination and packet.answers and packet.interface != "lo":
        return frozenset({"unicast"})
    return frozenset({"unicast"}) if not destination and packet.comes and packet.interface != "lo" else None


def is_in(item: object, got: Value | bool) -> bool | None:
    match item, got:
        case _, False:
            return False
        case {"elem": {"val": inner}}, _:
            return is_in(inner, got)
        case [*flags], frozenset():  # as in `ct state established,related`
            return any(flag in got for flag in flags)
        case {"prefix": {"addr": str(address), "len": int(length)}}, IPv4Address() | IPv6Address():
            return got in ip_network((address, length), strict=False)
        case {"range": [int(low), int(high)]}, int():
            return low <= got <= high
        case {"range": [str(low), str(high)]}, IPv4Address() | IPv6Address():
            return int(ip_address(low)) <= int(got) <= int(ip_address(high))
        case str(), IPv4Address() | IPv6Address():
            return item == str(got)
        case str(), frozenset() if WIRE in got:
            return False if item == "lo" else None
        case str(), frozenset() if item.endswith("*"):
            return any(one.startswith(item[:-1]) for one in got)
        case str() | int(), frozenset():
            return str(item) in got
        case int(), int():
            return item == got
        case "*", _:
            return True
    return None
