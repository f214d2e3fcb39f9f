"""What the host's own firewall does with a connection from outside, by the rules as nft lists them.

Law: three answers. A rule that is not understood and would decide otherwise than the rest makes it UNKNOWN, never
a guess. What iptables-nft wrote with matches of its own cannot be read in nft's listing, so it counts as such.
"""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from agent.core.redirect.spec import Address


class Verdict(enum.Enum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Arrival:
    """A connection that opens, as filter's input hook sees it: after translation."""

    interface: str
    source: Address
    destination: Address
    port: int = 4143
    translated: bool = True  # by the redirect; False: the peer dialled 4143 itself


@dataclass
class _Walk:
    arrival: Arrival
    chains: dict[tuple[str, str, str], list[Sequence[object]]]  # (family, table, name) → rules
    doubts: set[Verdict] = field(default_factory=set)


_END = {"accept": Verdict.ACCEPTED, "drop": Verdict.REFUSED, "reject": Verdict.REFUSED}
_DEPTH = 16  # of jumps, as in the kernel


def input_verdict(listing: object, arrival: Arrival) -> Verdict:
    """`listing`: what `nft -j list ruleset` says. Raises ValueError when it is no such listing."""
    match listing:
        case {"nftables": [*entries]}:
            return _verdict(entries, arrival)
    raise ValueError("not a listing of nftables")


def _verdict(entries: Sequence[object], arrival: Arrival) -> Verdict:
    """Every base chain has its say: a drop of one is final, an accept is its own alone."""
    walk = _Walk(arrival, {})
    for entry in entries:
        match entry:
            case {"rule": {"family": str(f), "table": str(t), "chain": str(c), "expr": [*expressions]}}:
                walk.chains.setdefault((f, t, c), []).append(expressions)
    for family, table, name, policy in _bases(entries, arrival):
        found = _chain(walk, (family, table, name), 0) or _END[policy]
        if found is Verdict.REFUSED:
            return Verdict.UNKNOWN if Verdict.ACCEPTED in walk.doubts else found
    return Verdict.UNKNOWN if Verdict.REFUSED in walk.doubts else Verdict.ACCEPTED


def _bases(entries: Sequence[object], arrival: Arrival) -> Iterator[tuple[str, str, str, str]]:
    families = {"inet", "ip" if arrival.destination.version == 4 else "ip6"}
    for entry in entries:
        match entry:
            case {"chain": {"family": str(f), "table": str(t), "name": str(n), "hook": "input", **rest}}:
                if f in families and rest.get("type") == "filter":
                    yield f, t, n, str(rest.get("policy", "accept"))


def _chain(walk: _Walk, name: tuple[str, str, str], depth: int) -> Verdict | None:
    """None: the chain lets the next rule of its caller, or the policy, decide."""
    for expressions in walk.chains.get(name, ()):
        holds = _holds(walk.arrival, expressions)
        if holds is False:
            continue
        end = _end(expressions[-1]) if expressions else None
        target = _target(expressions[-1]) if expressions else None
        if target is not None and depth < _DEPTH:
            end = _chain(walk, (*name[:2], target[1]), depth + 1)
            if end is None and target[0] == "goto" and holds:
                return None
        elif expressions and expressions[-1] == {"return": None} and holds:
            return None
        if end is None:
            continue
        if holds:
            return end
        walk.doubts.add(end)
    return None


def _end(expression: object) -> Verdict | None:
    return next((end for key, end in _END.items() if isinstance(expression, dict) and key in expression), None)


def _target(expression: object) -> tuple[str, str] | None:
    match expression:
        case {"jump": {"target": str(name)}}:
            return "jump", name
        case {"goto": {"target": str(name)}}:
            return "goto", name
    return None


# conditions ----------------------------------------------------------------------------------------


def _holds(arrival: Arrival, expressions: Sequence[object]) -> bool | None:
    """None: that cannot be told."""
    found = [_condition(arrival, expression) for expression in expressions]
    if False in found:
        return False
    return None if None in found else True


def _condition(arrival: Arrival, expression: object) -> bool | None:
    match expression:
        case {"match": {"op": str(op), "left": left, "right": right}} if op in ("==", "!=", "in"):
            held = _equals(arrival, left, right)
            return held if held is None or op != "!=" else not held
        case {"counter": _} | {"log": _} | {"accept": _} | {"drop": _} | {"reject": _} | {"return": _}:
            return True
        case {"jump": _} | {"goto": _}:
            return True
    return None


def _equals(arrival: Arrival, left: object, right: object) -> bool | None:
    version = "ip" if arrival.destination.version == 4 else "ip6"
    match left:
        case {"meta": {"key": "iifname" | "iif"}}:
            return _among(right, arrival.interface)
        case {"meta": {"key": "l4proto"}} | {"payload": {"protocol": "ip", "field": "protocol"}}:
            return _among(right, "tcp")
        case {"payload": {"protocol": "ip6", "field": "nexthdr"}}:
            return _among(right, "tcp")
        case {"meta": {"key": "nfproto"}}:
            return _among(right, "ipv4" if version == "ip" else "ipv6")
        case {"ct": {"key": "state"}}:
            return _among(right, "new")
        case {"ct": {"key": "status"}}:  # firewalld lets in whatever was translated
            return _among(right, "dnat") and arrival.translated
        case {"payload": {"protocol": "tcp" | "th", "field": "dport"}}:
            return _among(right, arrival.port)
        case {"payload": {"protocol": "udp" | "icmp" | "icmpv6" | "sctp" | "dccp"}}:
            return False
        case {"payload": {"protocol": "ip" | "ip6" as protocol, "field": "saddr" | "daddr" as where}}:
            if protocol != version:
                return False
            return _among(right, arrival.source if where == "saddr" else arrival.destination)
    return None


def _among(right: object, value: object) -> bool | None:
    """A named set is known by its name alone."""
    match right:
        case {"set": [*items]} | [*items]:
            found = [_among(item, value) for item in items]
            return True if True in found else None if None in found else False
        case {"range": [low, high]}:
            return _within(low, high, value)
        case {"prefix": {"addr": str(address), "len": int(length)}} if isinstance(value, Address):
            return value in ip_network((address, length), strict=False)
        case str() if right.startswith("@"):
            return None
        case str() if right.endswith("*"):
            return str(value).startswith(right[:-1])
        case str() | int():
            return right == (str(value) if isinstance(value, Address) else value)
    return None


def _within(low: object, high: object, value: object) -> bool | None:
    match low, high:
        case int(), int() if isinstance(value, int):
            return low <= value <= high
        case str(), str() if isinstance(value, Address):
            return int(ip_address(low)) <= int(value) <= int(ip_address(high))
    return None
