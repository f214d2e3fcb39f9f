"""A walk of one packet through the chains of a firewall, independent of the program that wrote them.

Law: three answers. A rule that is not understood and may change the result makes it UNKNOWN.
"""

import enum
from collections.abc import Callable, Iterable

from agent.core.late import dataclass, field
from agent.core.redirect.rules import Address

WIRE = "(any)"  # an interface whose name is not known; it is not lo


class Verdict(enum.Enum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Arrival:
    """A packet of a connection, as the hook sees it: the one that opens it, or with `answers` the one back.
    `interface`: by which it comes or goes. None: not known; then a rule that asks for it cannot be told."""

    interface: str | None
    source: Address | None
    destination: Address | None
    port: int | None = 4143
    translated: bool = True  # by the redirect; False: the peer dialled 4143 itself
    hook: str = "input"
    source_port: int | None = None
    state: str = "new"  # of the connection; "invalid" before it is tracked
    answers: bool = False
    later: bool = False  # neither the packet that opens the connection nor the first answer
    before: "Arrival | None" = None  # the same packet before the redirect translated it

    @property
    def version(self) -> int:
        known = self.destination or self.source
        assert known is not None, "a packet has an address"
        return known.version

    @property
    def comes(self) -> bool:
        """The hook sees by which interface it came; the others by which it goes."""
        return self.hook in ("ingress", "prerouting", "input")


@dataclass(frozen=True)
class Step:
    """One rule. `holds`: None where that cannot be told. At most one of the others; with none of them it only
    looks. `unclear`: what it does is not understood."""

    holds: bool | None
    end: Verdict | None = None
    chain: str = ""  # where it leads
    returns: bool = False  # it leaves its chain, or leads into another without coming back
    unclear: bool = False
    untracks: bool = False  # connection tracking leaves the packet out from here on
    rule: object = None


@dataclass(frozen=True)
class Outcome:
    """`rule`: that refuses, or is not understood. `untracked`: what `untracks`; None where that cannot be told.
    `packet`: as the rule saw it."""

    verdict: Verdict
    rule: str = ""
    untracked: bool | None = False
    untracks: str = ""
    packet: Arrival | None = None


OPEN = Outcome(Verdict.ACCEPTED)


@dataclass
class Walk:
    """`steps`: a chain's rules, by its name. `shown`: a rule, for people."""

    steps: Callable[[str], Iterable[Step]]
    shown: Callable[[object], str] = str
    unsure: list[object] = field(default_factory=list)
    untracked: list[tuple[bool | None, object]] = field(default_factory=list)


_DEPTH = 16  # of jumps, as in the kernel

Ends = dict[Verdict | None, object]  # each end that is possible, and the first rule that comes to it


def through(walk: Walk, chain: str, certain: bool = True, depth: int = 0) -> Ends:
    """None: the chain lets the next rule of its caller, or the policy, decide."""
    found: Ends = {}
    for step in walk.steps(chain):
        if step.holds is False:
            continue
        sure = certain and step.holds is True and not found
        ends, stays = _ends(walk, step, sure, depth)
        if ends and (step.unclear or step.holds is None):
            walk.unsure.append(step.rule)
        if step.untracks:
            walk.untracked.append((True if sure else None, step.rule))
        for end, rule in ends.items():
            found.setdefault(end, rule)
        if step.holds and not stays:
            return found
    found.setdefault(None, None)
    return found


def _ends(walk: Walk, step: Step, sure: bool, depth: int) -> tuple[Ends, bool]:
    """Of one rule that holds; and whether the next one of its chain may be asked then."""
    if step.unclear:
        return {Verdict.ACCEPTED: step.rule, Verdict.REFUSED: step.rule}, True
    if step.chain and depth < _DEPTH:
        ends = through(walk, step.chain, sure, depth + 1)
        if step.returns:
            return ends, False
        return {end: rule for end, rule in ends.items() if end is not None}, None in ends
    if step.end is not None:
        return {step.end: step.rule}, False
    return ({None: step.rule}, False) if step.returns else ({}, True)


def settled(walk: Walk, chain: str, policy: Verdict, where: str) -> Outcome:
    """What becomes of the packet in this base chain. `where`: the chain, for people."""
    ends = through(walk, chain)
    rules = {end or policy: rule for end, rule in ends.items()}
    untracked = next((sure for sure, _ in walk.untracked if sure), None if walk.untracked else False)
    by = next((rule for sure, rule in walk.untracked if sure is untracked), None)
    untracks = f"{where}: {walk.shown(by)}" if walk.untracked else ""
    if len(rules) == 1:
        (verdict,) = rules
        decided = rules[verdict] if None not in ends else None
        rule = walk.shown(decided) if decided is not None else "policy drop"
        return Outcome(verdict, f"{where}: {rule}" if verdict is Verdict.REFUSED else "", untracked, untracks)
    unsure = walk.shown(walk.unsure[0]) if walk.unsure else "its rules"
    return Outcome(Verdict.UNKNOWN, f"{where}: {unsure}", untracked, untracks)


_UNTRACKED = (False, None, True)
_SEVERITY = (Verdict.ACCEPTED, Verdict.UNKNOWN, Verdict.REFUSED)


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Of several base chains: a refusal of one is final, an acceptance is its own alone."""
    all_outcomes = list(outcomes)
    by = max(all_outcomes, key=lambda one: _UNTRACKED.index(one.untracked), default=OPEN)
    worst = max(all_outcomes, key=lambda one: _SEVERITY.index(one.verdict), default=OPEN)
    return Outcome(worst.verdict, worst.rule, by.untracked, by.untracks, worst.packet)
