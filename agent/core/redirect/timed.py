"""Rules on trial: they hold until a deadline, unless confirmed, and the kernel keeps the time.

Law: no process needs to run at the deadline. nftables removes an element from a set when it expires, so every new
rule checks whether the only element of the set `trial` still exists. Each chain has

    the new rules, each on condition;  "leave, while on trial";  the rules from before

so that both directions and both IP versions change from new to old at the same time.
"""

from collections.abc import Sequence
from itertools import groupby

from agent.core.late import dataclass
from agent.core.redirect import Ruleset, nft
from agent.core.redirect.nft import Json

_SET = "trial"
_LEAVE = "on trial: not the rules from before"
# A key that every packet of ours has, tracked or not, and of no protocol: nft 1.1 takes a set of protocols for
# an unknown one, which no condition on TCP and no TCP reset may follow.
_KEY, _TYPE, _VALUE = "pkttype", "pkt_type", "host"
_ON_TRIAL: Json = {"match": {"op": "==", "left": {"meta": {"key": _KEY}}, "right": f"@{_SET}"}}


@dataclass(frozen=True)
class Trial:
    """`before`: the rules that hold after the deadline. `left`: whole seconds; None: it has expired."""

    new: Ruleset | None
    before: Ruleset
    left: int | None


@dataclass(frozen=True)
class Live:
    """`rules`: those that hold at this moment; None: there is no table."""

    rules: Ruleset | None
    trial: Trial | None = None

    @property
    def on_trial(self) -> bool:
        return self.trial is not None and self.trial.left is not None


def transaction(new: Ruleset, before: Ruleset, seconds: int) -> Json:
    """Put the new rules in place of whatever the table holds, and after `seconds` those from before."""
    start, chains, fresh = _parts(new)
    _, others, old = _parts(before)
    names = [_name(chain) for chain in chains]
    chains += [chain for chain in others if _name(chain) not in names]
    commands = [*start, *_clock(seconds), *chains]
    for chain in map(_name, chains):
        commands += [_on_trial(rule) for rule in fresh if _chain(rule) == chain]
        commands.append(_on_trial(_rule({"chain": chain, "comment": _LEAVE, "expr": [{"return": None}]})))
        commands += [rule for rule in old if _chain(rule) == chain]
    return {"nftables": commands}


def read(listing: object) -> Live:
    """What `nft -j list table inet fairlead` says. Raises ValueError when it is no such listing."""
    match listing:
        case {"nftables": [*entries]}:
            trial = _trial(entries)
            if trial is None:
                return Live(nft.read(listing))
            return Live(trial.before if trial.left is None else trial.new, trial)
    raise ValueError("not a listing of nftables")


# writing -------------------------------------------------------------------------------------------


def _parts(rules: Ruleset) -> tuple[list[Json], list[Json], list[Json]]:
    """(what creates the table again, its chains, its rules), as commands."""
    commands = nft.transaction(rules)["nftables"]
    assert isinstance(commands, list)
    kinds = [_kind(command) for command in commands]
    first = min((i for i, kind in enumerate(kinds) if kind in ("chain", "rule")), default=len(kinds))
    chains = [c for c, kind in zip(commands, kinds, strict=True) if kind == "chain"]
    return commands[:first], chains, [c for c, kind in zip(commands, kinds, strict=True) if kind == "rule"]


def _kind(command: Json) -> str:
    (body,) = command.values()
    assert isinstance(body, dict)
    return str(next(iter(body)))


def _body(command: Json, kind: str) -> Json:
    added = command["add"]
    assert isinstance(added, dict)
    body: Json = added[kind]
    return body


def _name(command: Json) -> str:
    return str(_body(command, "chain")["name"])


def _chain(command: Json) -> str:
    return str(_body(command, "rule")["chain"])


def _rule(fields: Json) -> Json:
    return {"add": {"rule": {"family": "inet", "table": "fairlead", **fields}}}


def _on_trial(command: Json) -> Json:
    rule = _body(command, "rule")
    expressions = rule["expr"]
    assert isinstance(expressions, list)
    return _rule({**rule, "expr": [_ON_TRIAL, *expressions]})


def _clock(seconds: int) -> list[Json]:
    where = {"family": "inet", "table": "fairlead", "name": _SET}
    element = {"elem": {"val": _VALUE, "timeout": seconds}}
    return [
        {"add": {"set": {**where, "type": _TYPE, "flags": ["timeout"]}}},
        {"add": {"element": {**where, "elem": [element]}}},
    ]


# reading -------------------------------------------------------------------------------------------


def _trial(entries: Sequence[object]) -> Trial | None:
    """None: these are not rules on trial, or another program changed their structure."""
    clocks = [entry for entry in entries if _is_clock(entry)]
    rules = [entry for entry in entries if _is_rule(entry)]
    rest = [entry for entry in entries if entry not in clocks and entry not in rules]
    if len(clocks) != 1:
        return None
    new: list[object] = []
    old: list[object] = []
    for _, chain in groupby(rules, key=lambda entry: entry["rule"].get("chain")):  # type: ignore[index]
        elements = list(chain)
        at = next((i for i, entry in enumerate(elements) if _without_clock(entry) == "leave"), None)
        if at is None or not all(isinstance(_without_clock(entry), dict) for entry in elements[:at]):
            return None
        new += [_without_clock(entry) for entry in elements[:at]]
        old += elements[at + 1 :]
    return Trial(_read([*rest, *new]), _read([*rest, *old]), _left(clocks[0]))


def _read(entries: list[object]) -> Ruleset:
    return nft.read({"nftables": entries})


def _is_rule(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("rule"), dict)


def _is_clock(entry: object) -> bool:
    match entry:
        case {"set": {"name": name, "type": kind, "flags": ["timeout"]}}:
            return (name, kind) == (_SET, _TYPE)
    return False


def _left(clock: object) -> int | None:
    match clock:
        case {"set": {"elem": [{"elem": {"val": value, "expires": int(left)}}]}} if value == _VALUE:
            return left
        case {"set": {"elem": [_]}}:  # less than a second
            return 0
    return None


def _without_clock(entry: object) -> object:
    """A rule on trial as it stands without the condition; "leave" for the rule that ends them; None for others."""
    match entry:
        case {"rule": {"expr": [first, *others], **rest}} if first == _ON_TRIAL:
            if others == [{"return": None}] and rest.get("comment") == _LEAVE:
                return "leave"
            return {"rule": {**rest, "expr": others}}
    return None
