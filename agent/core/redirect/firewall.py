"""What the host's firewall does with a connection, by the rules as nft lists them.

Law: what iptables-nft wrote with matches of its own cannot be read in nft's listing: such a chain cannot be told
here, and is left to what iptables-nft-save says of it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.core.late import dataclass
from agent.core.redirect import nft_words
from agent.core.redirect.iptables import PREFIX
from agent.core.redirect.matches import both, condition, equals
from agent.core.redirect.passage import Leg, passage
from agent.core.redirect.walk import Arrival, Outcome, Step, Verdict, Walk, settled, together

__all__ = ["Arrival", "BaseChain", "Verdict", "input_verdict", "outcomes"]

_END = {"accept": Verdict.ACCEPTED, "drop": Verdict.REFUSED, "reject": Verdict.REFUSED}
_LOOKS = frozenset({"counter", "log", "last", "notrack", "continue", "secmark", "ct helper", "ct timeout"})
_RATES = frozenset({"limit", "quota", "ct count", "meter", "match"})  # what only holds or does not
_DOES = frozenset({*_END, "return", "jump", "goto", "xt", "dnat", "redirect", "snat", "masquerade"})
_MARKS = frozenset({"meta"})
_LABELS = frozenset({"mark", "label", "event", "secmark"})  # of a connection
_DYNAMIC = frozenset({"dynamic", "timeout"})
_NO_HARM = frozenset({"owner", "persist"})  # flags of a table
_ELSEWHERE = frozenset({"bridge"})  # not every packet meets it
Table = tuple[str, str]  # family, name
BaseChain = tuple[str, str, str]  # family, table, name


def input_verdict(listing: object, arrival: Arrival) -> Verdict:
    """`listing`: what `nft -j list ruleset` says. Raises ValueError when it is no such listing."""
    return together(found for _, found in outcomes(listing, passage(arrival))).verdict


def outcomes(listing: object, legs: Sequence[Leg]) -> Iterator[tuple[BaseChain, Outcome]]:
    """Of each base chain of others that the connection meets, in the order of the hooks."""
    match listing:
        case {"nftables": [*entries]}:
            return _outcomes(entries, legs)
    raise ValueError("not a listing of nftables")


def _outcomes(entries: Sequence[object], legs: Sequence[Leg]) -> Iterator[tuple[BaseChain, Outcome]]:
    tables = _tables(entries)
    bases = sorted(_bases(entries), key=lambda base: base.priority)
    for leg in legs:
        families = {"inet", "netdev", "bridge", "ip" if leg.packet.version == 4 else "ip6"}
        for base in bases:
            family, name, _ = base.place
            table = tables[family, name]
            met = leg.meets(base.hook, base.priority, base.kind) and base.on(leg.packet.interface) is not False
            if met and family in families and not table.dormant:
                yield base.place, _judged(base, table, leg)


def _judged(base: "_Base", table: "_Table", leg: Leg) -> Outcome:
    walk = Walk(_View(table, leg.packet).steps, nft_words.shown)
    outcome = settled(walk, base.place[2], base.policy, " ".join(base.place))
    unsure = base.place[0] in _ELSEWHERE or base.on(leg.packet.interface) is None or table.strange
    if unsure and outcome.verdict is not Verdict.ACCEPTED:
        return Outcome(Verdict.UNKNOWN, outcome.rule or " ".join(base.place))
    return leg.seen(outcome)


# the listing ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Base:
    place: BaseChain
    hook: str
    priority: int
    kind: str
    policy: Verdict
    devices: frozenset[str] | None

    def on(self, interface: str | None) -> bool | None:
        """Whether it hears of what comes by this interface."""
        if self.devices is None:
            return True
        named = interface is not None and interface.isascii() and not interface.startswith("(")
        return interface in self.devices if named else None


def _bases(entries: Sequence[object]) -> Iterator[_Base]:
    for entry in entries:
        match entry:
            case {"chain": {"family": str(f), "table": str(t), "name": str(n), "hook": str(hook), **rest}}:
                policy = _END.get(str(rest.get("policy", "accept")), Verdict.UNKNOWN)
                priority, kind = rest.get("prio", 0), str(rest.get("type", "filter"))
                if (f, t) != ("inet", "fairlead"):
                    yield _Base((f, t, n), hook, int(str(priority)), kind, policy, _devices(rest.get("dev")))


def _devices(found: object) -> frozenset[str] | None:
    match found:
        case str():
            return frozenset({found})
        case [*names]:
            return frozenset(map(str, names))
    return None


@dataclass
class _Table:
    sets: dict[str, Mapping[Any, Any]]  # and maps
    chains: dict[str, list[Sequence[object]]]
    dormant: bool = False
    strange: bool = False  # it has a flag that is not understood


def _tables(entries: Sequence[object]) -> dict[Table, _Table]:
    tables: dict[Table, _Table] = defaultdict(lambda: _Table({}, defaultdict(list)))
    for entry in entries:
        match entry:
            case {"rule": {"family": str(f), "table": str(t), "chain": str(c), "expr": [*expressions]}}:
                tables[f, t].chains[c].append(expressions)
            case {"set": {**named}} | {"map": {**named}}:
                tables[str(named["family"]), str(named["table"])].sets[str(named["name"])] = named
            case {"table": {"family": str(f), "name": str(t), "flags": flags}}:
                found = {flags} if isinstance(flags, str) else {*map(str, flags)}
                tables[f, t].dormant, tables[f, t].strange = "dormant" in found, bool(found - _NO_HARM)
    return tables


# rules ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _View:
    """A table as this packet meets it."""

    table: _Table
    packet: Arrival

    def steps(self, chain: str) -> Iterator[Step]:
        for expressions in self.table.chains.get(chain, ()):
            if not _leads_to_us(expressions):
                yield from self._rule(expressions)

    def _rule(self, expressions: Sequence[object]) -> Iterator[Step]:
        """What a rule does is its last expression; all before it are conditions."""
        holds: bool | None = True
        for expression in expressions[:-1]:
            holds = both((holds, self._condition(expression)))
            if _names(expression) == {"notrack"}:
                yield Step(holds, untracks=True, rule=expressions)
        last = expressions[-1] if expressions else {"counter": None}
        match last:
            case {"vmap": {"key": key, "data": data}}:
                yield from self._mapped(holds, key, data, expressions)
            case _ if _looks(last):
                strange = not all(_known(one) for one in expressions)
                held = both((holds, self._condition(last)))
                yield Step(held, unclear=strange, untracks=_names(last) == {"notrack"}, rule=expressions)
            case _:
                yield _step(last, holds, expressions)

    def _mapped(self, holds: bool | None, key: object, data: object, rule: object) -> Iterator[Step]:
        """A map from values to what is done: one step for each pair, of which at most one holds."""
        match self._elements(data):
            case [*pairs]:
                for pair in pairs:
                    match pair:
                        case [found, done]:
                            held = equals(self.packet, key, {"set": [found]}, self._elements)
                            yield _step(done, both((holds, held)), rule)
            case None:
                yield Step(holds, unclear=True, rule=rule)

    def _elements(self, right: object) -> Sequence[object] | None:
        """None: they come and go, or are not listed."""
        match right:
            case {"set": [*items]}:
                return items
            case str() if right.startswith("@"):
                named = self.table.sets.get(right[1:], {"flags": [*_DYNAMIC]})
                elements: list[object] = named.get("elem", [])
                return None if _DYNAMIC & {*named.get("flags", ())} else elements
        return right if isinstance(right, list) else [right]

    def _condition(self, expression: object) -> bool | None:
        """None as well for a statement in between that is not understood."""
        if isinstance(expression, dict) and "match" in expression:
            return condition(self.packet, expression, self._elements)
        return True if _looks(expression) and _known(expression) and not _names(expression) & _RATES else None


def _leads_to_us(expressions: Sequence[object]) -> bool:
    """As iptables-nft writes it."""
    match [*expressions][-1:]:
        case [{"jump": {"target": str(target)}}]:
            return target.startswith(PREFIX)
    return False


def _names(expression: object) -> set[str]:
    return {str(key) for key in expression} if isinstance(expression, dict) else set()


def _looks(expression: object) -> bool:
    """It lets the packet go on, if what it is about is known."""
    return not _names(expression) & _DOES


def _known(expression: object) -> bool:
    """It decides nothing and does not change the packet."""
    match expression:
        case {"mangle": {"key": {"ct": {"key": str(label)}}}}:
            return label in _LABELS  # another zone hides the connection from the redirect's answer
        case {"mangle": {"key": {**key}}}:
            return set(key) <= _MARKS
        case {"set": {**rest}}:  # `add @set {…}`; with a rate in it, it holds or does not
            return "stmt" not in rest
        case {"xt": {"type": "match"}}:
            return True
    return bool(_names(expression)) and _names(expression) <= {*_LOOKS, *_RATES}


def _step(done: object, holds: bool | None, rule: object) -> Step:
    match done:
        case {"jump": {"target": str(name)}}:
            return Step(holds, chain=name, rule=rule)
        case {"goto": {"target": str(name)}}:
            return Step(holds, chain=name, returns=True, rule=rule)
        case {"return": _}:
            return Step(holds, returns=True, rule=rule)
        case {"masquerade": _} | {"snat": _}:
            return Step(holds, end=Verdict.ACCEPTED, rule=rule)
        case {**one} if set(one) & set(_END):
            return Step(holds, end=next(end for key, end in _END.items() if key in one), rule=rule)
        case {"continue": _}:
            return Step(holds, rule=rule)
    return Step(holds, unclear=True, rule=rule)
