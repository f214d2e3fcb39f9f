"""What the host's own firewall does with a connection, by the rules as nft lists them.

Law: what iptables-nft wrote with matches of its own cannot be read in nft's listing: its tables are left to what
iptables-nft-save says of them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from agent.core.redirect.spec import Address
from agent.core.redirect.walk import Arrival, Step, Verdict, Walk, settled, together

__all__ = ["Arrival", "Verdict", "input_verdict"]

_END = {"accept": Verdict.ACCEPTED, "drop": Verdict.REFUSED, "reject": Verdict.REFUSED}
_LOOKS = frozenset({"counter", "log", "mangle", "notrack", "set"})
_DYNAMIC = frozenset({"dynamic", "timeout"})
Table = tuple[str, str]  # family, name
BaseChain = tuple[str, str, str]  # family, table, name


def input_verdict(listing: object, arrival: Arrival, but: frozenset[Table] = frozenset()) -> Verdict:
    """`listing`: what `nft -j list ruleset` says. `but`: tables that somebody else answers for. Raises ValueError
    when it is no such listing."""
    match listing:
        case {"nftables": [*entries]}:
            return together(found for chain, found in _verdicts(entries, arrival) if chain[:2] not in but)
    raise ValueError("not a listing of nftables")


def refusing(listing: object, arrival: Arrival) -> list[BaseChain]:
    """The base chains that refuse it."""
    match listing:
        case {"nftables": [*entries]}:
            return [chain for chain, found in _verdicts(entries, arrival) if found is Verdict.REFUSED]
    raise ValueError("not a listing of nftables")


def _verdicts(entries: Sequence[object], arrival: Arrival) -> Iterator[tuple[BaseChain, Verdict]]:
    """Of each base chain."""
    tables: dict[Table, _Table] = defaultdict(lambda: _Table(arrival, {}, defaultdict(list)))
    for entry in entries:
        match entry:
            case {"rule": {"family": str(f), "table": str(t), "chain": str(c), "expr": [*expressions]}}:
                tables[f, t].chains[c].append(expressions)
            case {"set": {**named}} | {"map": {**named}}:
                tables[str(named["family"]), str(named["table"])].sets[str(named["name"])] = named
    for family, name, chain, policy in _bases(entries, arrival):
        yield (family, name, chain), settled(Walk(tables[family, name].steps), chain, _END[policy])


def _bases(entries: Sequence[object], arrival: Arrival) -> Iterator[tuple[str, str, str, str]]:
    families = {"inet", "ip" if arrival.destination.version == 4 else "ip6"}
    for entry in entries:
        match entry:
            case {"chain": {"family": str(f), "table": str(t), "name": str(n), "hook": str(hook), **rest}}:
                if hook == arrival.hook and f in families and rest.get("type") == "filter":
                    yield f, t, n, str(rest.get("policy", "accept"))


@dataclass(frozen=True)
class _Table:
    arrival: Arrival
    sets: dict[str, Mapping[Any, Any]]  # and maps
    chains: dict[str, list[Sequence[object]]]

    def steps(self, chain: str) -> Iterator[Step]:
        for expressions in self.chains.get(chain, ()):
            yield from self._rule(expressions)

    def _rule(self, expressions: Sequence[object]) -> Iterator[Step]:
        """What a rule does is its last expression; all before it are conditions."""
        holds = _all(self._condition(expression) for expression in expressions[:-1])
        match expressions[-1] if expressions else {"counter": None}:
            case {"vmap": {"key": key, "data": data}}:
                yield from self._mapped(holds, key, data)
            case last:
                yield _step(last, _all((holds, self._condition(last))))

    def _mapped(self, holds: bool | None, key: object, data: object) -> Iterator[Step]:
        """A map from values to what is done: one step for each pair, of which at most one holds."""
        match self._elements(data):
            case [*pairs]:
                for pair in pairs:
                    match pair:
                        case [value, done]:
                            yield _step(done, _all((holds, self._equals(key, value))))
            case None:
                yield Step(holds, unclear=True)

    def _elements(self, right: object) -> Sequence[object] | None:
        """None: they come and go, or are not listed."""
        match right:
            case {"set": [*items]} | [*items]:
                return items
            case str() if right.startswith("@"):
                named = self.sets.get(right[1:], {"flags": [*_DYNAMIC]})
                found: list[object] = named.get("elem", [])
                return None if _DYNAMIC & {*named.get("flags", ())} else found
        return [right]

    def _condition(self, expression: object) -> bool | None:
        match expression:
            case {"match": {"op": "!=", "left": left, "right": right}}:
                held = self._equals(left, right)
                return None if held is None else not held
            case {"match": {"op": "==" | "in", "left": left, "right": right}}:
                return self._equals(left, right)
            case {**one} if set(one) & {*_LOOKS, *_END, "return", "jump", "goto"}:
                return True
        return None

    def _equals(self, left: object, right: object) -> bool | None:
        value = _value(self.arrival, left)
        items = self._elements(right)
        if value is None or items is None:
            return None
        found = [_is(item, value) for item in items]
        return True if True in found else None if None in found else False


def _all(found: Iterator[bool | None] | tuple[bool | None, ...]) -> bool | None:
    answers = list(found)
    return False if False in answers else None if None in answers else True


def _step(done: object, holds: bool | None) -> Step:
    match done:
        case {"jump": {"target": str(name)}}:
            return Step(holds, chain=name)
        case {"goto": {"target": str(name)}}:
            return Step(holds, chain=name, returns=True)
        case {"return": None}:
            return Step(holds, returns=True)
        case {**one} if set(one) & set(_END):
            return Step(holds, end=next(end for key, end in _END.items() if key in one))
        case {**one} if set(one) & {*_LOOKS, "match", "continue"}:
            return Step(holds)
    return Step(None, unclear=True)


# the connection ------------------------------------------------------------------------------------

Value = frozenset[str] | Address | int


def _value(arrival: Arrival, left: object) -> Value | bool | None:
    """What this connection has there, under every name that nft has for it; False: it has nothing there, so
    nothing fits; None: that is not known."""
    ours, other = ("ip", "ip6") if arrival.destination.version == 4 else ("ip6", "ip")
    match left:
        case {"meta": {"key": "iifname" | "iif" | "oifname" | "oif" as key}}:
            if key[0] != arrival.hook[0]:
                return False
            return frozenset({arrival.interface}) if arrival.interface is not None else None
        case {"meta": {"key": "l4proto"}} | {"payload": {"field": "protocol" | "nexthdr"}}:
            return frozenset({"tcp", "6"})
        case {"meta": {"key": "nfproto" | "protocol"}}:
            return frozenset({"ipv4", "ip"} if ours == "ip" else {"ipv6", "ip6"})
        case {"meta": {"key": "pkttype"}}:
            return frozenset({"host", "unicast"})
        case {"fib": {"result": "type", "flags": [*flags]}} if "daddr" in flags:
            return frozenset({"local"})
        case {"ct": {"key": "state"}}:
            return frozenset({"new"})
        case {"ct": {"key": "status"}}:  # firewalld lets in whatever was translated
            return frozenset({"dnat"}) if arrival.translated else False
        case {"payload": {"protocol": "tcp" | "th", "field": "dport"}}:
            return arrival.port
        case {"payload": {"protocol": "udp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "igmp" | "arp"}}:
            return False
        case {"payload": {"protocol": str(protocol)}} if protocol == other:
            return False
        case {"payload": {"protocol": "ip" | "ip6", "field": "saddr"}}:
            return arrival.source
        case {"payload": {"protocol": "ip" | "ip6", "field": "daddr"}}:
            return arrival.destination
    return None


def _is(item: object, value: Value | bool) -> bool | None:
    match item, value:
        case _, False:
            return False
        case {"elem": {"val": inner}}, _:
            return _is(inner, value)
        case [*flags], frozenset():  # as in `ct state established,related`
            return any(flag in value for flag in flags)
        case {"prefix": {"addr": str(address), "len": int(length)}}, IPv4Address() | IPv6Address():
            return value in ip_network((address, length), strict=False)
        case {"range": [int(low), int(high)]}, int():
            return low <= value <= high
        case {"range": [str(low), str(high)]}, IPv4Address() | IPv6Address():
            return int(ip_address(low)) <= int(value) <= int(ip_address(high))
        case str(), IPv4Address() | IPv6Address():
            return item == str(value)
        case str(), frozenset() if item.endswith("*"):
            return any(one.startswith(item[:-1]) for one in value)
        case str() | int(), frozenset():
            return str(item) in value
        case int(), int():
            return item == value
    return None
