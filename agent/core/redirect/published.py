"""The TCP ports that others publish on this host, by the rules with which they translate: container runtimes,
kube-proxy, and people with a REDIRECT.

Law: a set of ports is followed through the chains, so that jumps, conditions and maps count as in the kernel. What
is translated whatever its port is publishes none.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent.core.late import dataclass
from agent.core.redirect import firewall_iptables, iptables
from agent.core.redirect.iptables_words import Line, Option, parsed
from agent.core.redirect.matches import both, condition, equals
from agent.core.redirect.spec import Published
from agent.core.redirect.walk import Arrival

# Programs that listen for a runtime on a published port, as the kernel names their processes.
LISTENERS = frozenset({"docker-proxy", "rootlessport", "podman", "pasta", "pasta.avx2", "slirp4netns", "conmon"})

_LAST = 65535
_OTHERS = (iptables.PREFIX, "PROXY_INIT_")  # chains that hand connections to a proxy
_DEPTH = 16


def _all() -> frozenset[int]:
    return frozenset(range(1, _LAST + 1))


@dataclass(frozen=True)
class Branch:
    """One rule. `ports`: those to which it applies; None: all. With nothing else it only looks."""

    holds: bool | None
    ports: frozenset[int] | None = None
    translates: bool = False
    ends: bool = False
    chain: str = ""
    returns: bool = False


Chains = Callable[[str], Iterable[Branch]]


def follow(
    chains: Chains, chain: str, ports: frozenset[int], found: set[int], narrowed: bool, depth: int
) -> set[int]:
    """Those that leave the chain at its end; `found`: what is translated on the way."""
    left, back = set(ports), set[int]()
    for branch in chains(chain):
        hit = frozenset(left if branch.ports is None else left & branch.ports)
        if branch.holds is False or not hit:
            continue
        out, narrow = set[int](), narrowed or branch.ports is not None
        if branch.translates:
            found |= hit if narrow else set()
        elif branch.chain and depth < _DEPTH:
            out = follow(chains, branch.chain, hit, found, narrow, depth + 1)
            back, out = (back | out, set()) if branch.returns else (back, out)
        elif branch.returns:
            back |= hit
        elif not branch.ends:
            continue
        if branch.holds:
            left = (left - hit) | out
    return left | back


def _published(chains: Chains, bases: Iterable[str]) -> frozenset[int]:
    found: set[int] = set()
    for base in bases:
        follow(chains, base, _all(), found, narrowed=False, depth=0)
    return frozenset(found)


# iptables ------------------------------------------------------------------------------------------


def from_iptables(text: str, packets: Sequence[Arrival]) -> frozenset[Published]:
    """What iptables-save says, at each address. `packets`: one to each address of this host, as prerouting sees
    it."""
    chains: dict[str, list[Line]] = defaultdict(list)
    for line in iptables.parse(text).lines.get("nat", ()):
        rule = parsed(line)
        if not rule.chain.startswith(_OTHERS) and not rule.target.startswith(_OTHERS):
            chains[rule.chain].append(rule)
    result: set[Published] = set()
    for packet in packets if chains else ():
        known = {name: [_line(rule, packet, chains) for rule in rules] for name, rules in chains.items()}
        ports = _published(lambda name, known=known: known.get(name, ()), ["PREROUTING"])  # type: ignore[misc]
        result |= {(packet.destination, port) for port in ports}
    return frozenset(result)


def _line(line: Line, packet: Arrival, chains: Mapping[str, object]) -> Branch:
    options = [option for option in line.options if option.name in _PORTS]
    rest = [option for option in line.options if option not in options]
    holds = both(firewall_iptables.conditions(rest, packet))
    ports = frozenset.intersection(*map(_named, options)) if options else None
    match line.target:
        case "DNAT" | "REDIRECT":
            return Branch(holds, ports, translates=True)
        case "ACCEPT" | "DROP":
            return Branch(holds, ports, ends=True)
        case "RETURN":
            return Branch(holds, ports, returns=True)
    return Branch(holds, ports, chain=line.target if line.target in chains else "", returns=line.goes)


_PORTS = frozenset({"--dport", "--dports", "--destination-port", "--destination-ports"})


def _named(option: Option) -> frozenset[int]:
    ports: set[int] = set()
    for part in ",".join(option.values).split(","):
        first, colon, last = part.partition(":")
        ports |= set(range(int(first or 1), int(last or (_LAST if colon else first)) + 1))
    return _all() - ports if option.turned else frozenset(ports)


# nftables ------------------------------------------------------------------------------------------


def from_nft(
    listing: object, packets: Sequence[Arrival], kept: frozenset[str] = frozenset()
) -> frozenset[Published]:
    """What `nft -j list ruleset` says, our own table apart. `kept`: families whose nat is iptables-nft's, and
    read there."""
    match listing:
        case {"nftables": [*entries]}:
            return frozenset(
                (packet.destination, port) for packet in packets for port in _of_tables(entries, packet, kept)
            )
    raise ValueError("not a listing of nftables")


def _of_tables(entries: Sequence[object], packet: Arrival, kept: frozenset[str]) -> Iterator[int]:
    families = {"inet", "ip" if packet.version == 4 else "ip6"}
    rules: dict[tuple[str, str], dict[str, list[Sequence[object]]]] = defaultdict(lambda: defaultdict(list))
    sets: dict[tuple[str, str], dict[str, Mapping[Any, Any]]] = defaultdict(dict)
    bases = []
    for entry in entries:
        match entry:
            case {"rule": {"family": str(f), "table": str(t), "chain": str(c), "expr": [*expressions]}}:
                rules[f, t][c].append(expressions)
            case {"set": {**one}} | {"map": {**one}}:
                sets[str(one["family"]), str(one["table"])][str(one["name"])] = one
            case {
                "chain": {"family": str(f), "table": str(t), "name": str(c), "hook": "prerouting", "type": "nat"}
            }:
                if f in families and (f, t) != ("inet", "fairlead") and not (f in kept and t == "nat"):
                    bases.append((f, t, c))
    for family, table, chain in bases:
        yield from _published(_Chains(rules[family, table], sets[family, table], packet).of, [chain])


@dataclass(frozen=True)
class _Chains:
    rules: Mapping[str, Sequence[Sequence[object]]]
    sets: Mapping[str, Mapping[Any, Any]]
    packet: Arrival

    def of(self, chain: str) -> Iterator[Branch]:
        for expressions in self.rules.get(chain, ()):
            yield from self._rule(expressions)

    def _rule(self, expressions: Sequence[object]) -> Iterator[Branch]:
        """What a rule does is its last expression."""
        holds: bool | None = bool(expressions)
        ports: frozenset[int] | None = None
        for expression in expressions[:-1]:
            held, named = self._condition(expression)
            holds, ports = both((holds, held)), _within(ports, named)
        match expressions[-1:]:
            case [{"vmap": {"key": key, "data": data}}]:
                for value, done in _pairs(self._elements(data)):
                    held, named = self._is(key, value)
                    yield _done(done, both((holds, held)), _within(ports, named))
            case [{"dnat": {**to}}] | [{"redirect": {**to}}]:
                yield from self._mapped(to, holds, ports)
            case [done]:
                yield _done(done, holds, ports)

    def _mapped(self, to: Mapping[Any, Any], holds: bool | None, ports: frozenset[int] | None) -> Iterator[Branch]:
        """A destination from a map: what the map has."""
        maps = [value["map"] for value in to.values() if isinstance(value, dict) and "map" in value]
        if not maps:
            yield Branch(holds, ports, translates=True)
        for value, _ in _pairs(self._elements(maps[0]["data"])) if maps else ():
            held, named = self._is(maps[0]["key"], value)
            yield Branch(both((holds, held)), _within(ports, named), translates=True)

    def _condition(self, expression: object) -> tuple[bool | None, frozenset[int] | None]:
        match expression:
            case {"match": {"op": "==" | "!=" | "in" as op, "left": left, "right": right}} if _is_port(left):
                elements = self._elements(right)
                named = frozenset(port for one in elements or () for port in _numbers(one))
                return (True if elements is not None else None), _all() - named if op == "!=" else named
            case {"match": {"op": "==" | "in", "left": {"concat": [*_]} as left, "right": right}}:
                return self._any(left, self._elements(right))
            case {"match": _}:
                return condition(self.packet, expression, self._elements), None
            case {"counter": _} | {"log": _} | {"mangle": _}:
                return True, None
        return None, None

    def _any(self, left: object, elements: Sequence[object] | None) -> tuple[bool | None, frozenset[int] | None]:
        answers = [self._is(left, one) for one in elements or ()]
        ports = [named for held, named in answers if held is not False and named is not None]
        return (None if elements is None else bool(answers) and any(held is not False for held, _ in answers)), (
            frozenset[int]().union(*ports) if ports else None
        )

    def _is(self, key: object, value: object) -> tuple[bool | None, frozenset[int] | None]:
        match key, value:
            case _, {"elem": {"val": inner}}:
                return self._is(key, inner)
            case {"concat": [*keys]}, {"concat": [*values]} if len(keys) == len(values):
                parts = [self._is(one, other) for one, other in zip(keys, values, strict=True)]
                ports = None
                for _, named in parts:
                    ports = _within(ports, named)
                return both(held for held, _ in parts), ports
        if _is_port(key):
            return True, frozenset(_numbers(value))
        return equals(self.packet, key, {"set": [value]}, self._elements), None

    def _elements(self, right: object) -> Sequence[object] | None:
        match right:
            case {"set": [*items]}:
                return items
            case str() if right.startswith("@"):
                named = self.sets.get(right[1:], {"flags": ["dynamic"]})
                elements: list[object] = named.get("elem", [])
                return None if {"dynamic", "timeout"} & {*named.get("flags", ())} else elements
        return right if isinstance(right, list) else [right]


def _is_port(left: object) -> bool:
    match left:
        case {"payload": {"protocol": "tcp" | "th", "field": "dport"}}:
            return True
    return False


def _within(ports: frozenset[int] | None, named: frozenset[int] | None) -> frozenset[int] | None:
    return named if ports is None else ports if named is None else ports & named


def _pairs(elements: Sequence[object] | None) -> Iterator[tuple[object, object]]:
    for element in elements or ():
        match element:
            case [value, done]:
                yield value, done


def _done(done: object, holds: bool | None, ports: frozenset[int] | None) -> Branch:
    match done:
        case {"jump": {"target": str(name)}}:
            return Branch(holds, ports, chain="" if name.startswith(_OTHERS) else name)
        case {"goto": {"target": str(name)}}:
            return Branch(holds, ports, chain=name, returns=True)
        case {"return": _}:
            return Branch(holds, ports, returns=True)
        case {"accept": _} | {"drop": _} | {"reject": _}:
            return Branch(holds, ports, ends=True)
    return Branch(holds, ports)


def _numbers(value: object) -> Iterator[int]:
    match value:
        case int():
            yield value
        case {"range": [int(first), int(last)]}:
            yield from range(first, last + 1)
        case {"elem": {"val": inner}}:
            yield from _numbers(inner)
