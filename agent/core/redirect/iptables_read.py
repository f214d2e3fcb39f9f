"""iptables-save's text as a Ruleset, of both IP versions together.

Law: as for nftables, what is read back is compared by what it does; what is not understood is kept as `foreign`
and never equals a rule of ours.
"""

import math
import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from itertools import groupby

from agent.core.late import dataclass, replace
from agent.core.redirect.iptables import PLACES, Place, Saved, chain_of, parse
from agent.core.redirect.rules import Action, Match, Rule, Ruleset, canonical
from agent.core.redirect.wanted_rules import SKELETON

_FLAGS = ("FIN,SYN,RST,ACK", "SYN")
# A rule before ours may refuse more than we do, never admit more. fail2ban's chains refuse or return.
_HARMLESS = ("DROP", "REJECT", "LOG", "NFLOG", "")
_WORD = re.compile(r'"[^"]*"|\S+')
_SYN_JUMP = Match(opens=True)


def read(four: str, six: str | None) -> Ruleset | None:
    """`six`: None where this host has no IPv6 tables. None: nothing of ours is there."""
    saved = {4: parse(four)} | ({6: parse(six)} if six is not None else {})
    if not any(found.holds for found in saved.values()):
        return None
    chains = []
    for chain in sorted(SKELETON, key=lambda chain: chain.name):
        place = next(place for place in PLACES if place.name == chain.name)
        read_ = [_chain(found, place) for found in saved.values()]
        if all(rules is not None for rules in read_):
            chains.append(replace(chain, rules=_merged(read_)))
    return Ruleset(tuple(chains), tuple(_strangers(saved)))


def _strangers(saved: dict[int, Saved]) -> Iterator[str]:
    known = {(table, place.chain) for place in PLACES for table, _ in place.base}
    for version, tables in saved.items():
        for table in tables.chains:
            for name in tables.ours(table):
                if (table, name) not in known:
                    yield f"IPv{version} {table} {name}"


# chains --------------------------------------------------------------------------------------------

Rules = tuple[Rule, ...]


def _chain(saved: Saved, place: Place) -> Rules | None:
    """The rules of the chain, the same wherever it stands; None: it is missing, or nothing leads to it."""
    rules = []
    for table, base in place.base:
        if place.chain not in saved.ours(table) or not _is_reached(saved, place, table, base):
            return None
        lines = [line for line in saved.lines.get(table, ()) if chain_of(line) == place.chain]
        rules.append(tuple(_joined(_Line.of(line, table, base) for line in lines)))
    return rules[-1] if rules[0] == rules[-1] else _differ("nat and filter")


def _differ(what: str) -> Rules:
    """In place of rules that are not the same where they must be."""
    return (Rule("", Match(foreign=(f"{what} differ",)), Action.LOOK),)


def _is_reached(saved: Saved, place: Place, table: str, base: str) -> bool:
    """One jump leads there, and before it stands nothing that could let a packet by."""
    jumps = [line for line in saved.jumps(table) if line.split()[-1] == place.chain]
    if len(jumps) != 1 or chain_of(jumps[0]) != base:
        return False
    line = _Line.of(jumps[0], table, base)
    if line.match != (Match() if place.name == "tracking" else _SYN_JUMP):
        return False
    if place.name == "tracking":
        return True
    before = [one for one in saved.lines[table] if chain_of(one) == base]
    return all(_is_harmless(one) for one in before[: before.index(jumps[0])])


def _is_harmless(line: str) -> bool:
    words = _words(line)
    target = words[words.index("-j") + 1] if "-j" in words else ""
    return target in _HARMLESS or target.startswith(("f2b-", "FAIRLEAD_"))


def _merged(chains: Sequence[Rules | None]) -> Rules:
    """One list of both IP versions' rules, which must agree on what is for both."""
    four, six = chains[0] or (), (chains[1] or ()) if len(chains) == 2 else None
    if six is None:
        return four
    merged: list[Rule] = []
    fours, sixes = _runs(four, 4), _runs(six, 6)
    if [both for both, _ in fours] != [both for both, _ in sixes]:
        return _differ("IPv4 and IPv6")
    for (both, own), (_, other) in zip(fours, sixes, strict=True):
        merged += [*([both] if both else []), *own, *other]
    return tuple(merged)


def _runs(rules: Rules, version: int) -> list[tuple[Rule | None, Rules]]:
    """(a rule for both versions, the rules of this version that follow it); the first has no rule for both."""
    runs: list[tuple[Rule | None, list[Rule]]] = [(None, [])]
    for rule in rules:
        if rule.match.version == version:
            runs[-1][1].append(rule)
        else:
            runs.append((rule, []))
    return [(both, tuple(own)) for both, own in runs]


# lines ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    name: str
    match: Match
    action: Action
    port: int

    @classmethod
    def of(cls, line: str, table: str, base: str) -> "_Line":
        match, name, target = _conditions(_words(line)[2:])
        action, port = _action(target, table, base) or (Action.LOOK, 0)
        if target and _action(target, table, base) is None and not target[0].startswith("FAIRLEAD_"):
            match = replace(match, foreign=(*match.foreign, " ".join(target)))
        return cls(name, match, action, port)


def _words(line: str) -> list[str]:
    return [word.strip('"') for word in _WORD.findall(line)]


def _action(target: Sequence[str], table: str, base: str) -> tuple[Action, int] | None:
    match target:
        case ["RETURN"]:
            return Action.SKIP, 0
        case ["REJECT", "--reject-with", "tcp-reset"] if table == "filter":
            return Action.RESET, 0
        case ["DNAT", "--to-destination", ":1-65535"] if table == "nat":
            return Action.RESET, 0
        case ["DNAT", "--to-destination", to] if to[:1] == ":" and to[1:].isdecimal() and base == "PREROUTING":
            return Action.REDIRECT, int(to[1:])
        case ["REDIRECT", "--to-ports", to] if to.isdecimal() and base == "OUTPUT":
            return Action.REDIRECT, int(to)
    return None


def _conditions(words: list[str]) -> tuple[Match, str, list[str]]:
    """(match, comment, target). `-p tcp` adds nothing to a match on ports."""
    match, name, tcp = Match(), "", False
    while words:
        match words:
            case ["-j" | "-g", *target]:
                return _with_protocol(match, tcp), name, target
            case ["-p", "tcp", *rest]:
                tcp, words = True, rest
            case ["-m", "tcp" | "multiport" | "owner" | "comment" | "conntrack", *rest]:
                words = rest
            case ["--comment", name, *rest]:
                words = rest
            case ["--tcp-flags", mask, flags, *rest] if (mask, flags) == _FLAGS:
                match, words = _narrow(match, opens=True), rest
            case [option, value, *rest] if option in _OPTIONS:
                match, words = _narrow(match, **_option(option, value)), rest
            case [word, *rest]:
                match, words = replace(match, foreign=(*match.foreign, word)), rest
    return _with_protocol(match, tcp), name, []


_OPTIONS = {
    "-i": "arrives_by",
    "-o": "leaves_by",
    "-s": "sources",
    "-d": "networks",
    "--dports": "ports",
    "--uid-owner": "uids",
    "--gid-owner": "gids",
    "--ctstate": "tracked",
}


def _option(option: str, value: str) -> dict[str, object]:
    """The field of Match that it sets; "foreign" where the value is none that we write."""
    try:
        match option:
            case "-i" | "-o":
                found: object = frozenset({value})
            case "-s" | "-d":
                found = (ip_network(value),)
            case "--dports":
                found = frozenset(port for part in value.split(",") for port in _span(part))
            case "--ctstate":
                found = {"NEW": True}[value]
            case _:
                found = frozenset({int(value)})
    except (ValueError, KeyError):
        return {"foreign": (f"{option} {value}",)}
    return {_OPTIONS[option]: found}


def _span(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last or first) + 1)


def _narrow(match: Match, **more: object) -> Match:
    if any(getattr(match, name) != getattr(Match(), name) for name in more):
        return replace(match, foreign=(*match.foreign, *map(repr, more.items())))
    return replace(match, **more)  # type: ignore[arg-type]  # names of fields


def _with_protocol(match: Match, tcp: bool) -> Match:
    good = tcp if match.ports or match.opens else not tcp
    return match if good else replace(match, foreign=(*match.foreign, "-p tcp"))


def _joined(lines: Iterator[_Line]) -> Iterator[Rule]:
    """Lines of one name and one action are one rule, when they are all combinations of what they match."""
    for (name, action, port), group in groupby(lines, key=lambda line: (line.name, line.action, line.port)):
        matches = [line.match for line in group]
        whole = _product(matches)
        for match in [whole] if whole else matches:
            yield Rule(name, match, action, port)


def _product(matches: Sequence[Match]) -> Match | None:
    names: tuple[str, ...] = Match.__match_args__
    values = {name: {getattr(match, name) for match in matches} for name in names}
    if len(set(matches)) != len(matches) or math.prod(map(len, values.values())) != len(matches):
        return None
    if any(len(values[name]) > 1 for name in ("opens", "tracked", "foreign")):
        return None
    joined: dict[str, object] = {}
    for name in ("arrives_by", "leaves_by", "uids", "gids", "ports"):
        joined[name] = frozenset().union(*values[name])
    for name in ("sources", "networks"):
        joined[name] = canonical(network for found in values[name] for network in found)
    return replace(matches[0], **joined)  # type: ignore[arg-type]  # names of fields
