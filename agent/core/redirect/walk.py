"""A walk through the chains of a firewall with one connection in hand, whatever wrote them.

Law: three answers. A rule that is not understood and would decide otherwise than the rest makes it UNKNOWN, never
a guess.
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from agent.core.redirect.spec import Address


class Verdict(enum.Enum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Arrival:
    """A connection that opens, as filter's input or output hook sees it: after translation. `interface`: by which
    it comes or goes. `interface`, `source`: None where they are not known; then a rule that asks for them cannot
    be told."""

    interface: str | None
    source: Address | None
    destination: Address
    port: int = 4143
    translated: bool = True  # by the redirect; False: the peer dialled 4143 itself
    hook: str = "input"


@dataclass(frozen=True)
class Step:
    """One rule. `holds`: None where that cannot be told. At most one of the others; with none of them it only
    looks. `unclear`: what it does is not understood."""

    holds: bool | None
    end: Verdict | None = None
    chain: str = ""  # where it leads
    returns: bool = False  # it leaves its chain, or leads into another without coming back
    unclear: bool = False


@dataclass
class Walk:
    """`steps`: a chain's rules, by its name."""

    steps: Callable[[str], Iterable[Step]]
    doubts: set[Verdict] = field(default_factory=set)


_DEPTH = 16  # of jumps, as in the kernel


def through(walk: Walk, chain: str, depth: int = 0) -> Verdict | None:
    """None: the chain lets the next rule of its caller, or the policy, decide."""
    for step in walk.steps(chain):
        if step.holds is False:
            continue
        if step.unclear:
            walk.doubts |= {Verdict.ACCEPTED, Verdict.REFUSED}
        end = step.end
        if step.chain and depth < _DEPTH:
            end = through(walk, step.chain, depth + 1)
        if end is None:
            if step.returns and step.holds:
                return None
        elif step.holds:
            return end
        else:
            walk.doubts.add(end)
    return None


def settled(walk: Walk, chain: str, policy: Verdict) -> Verdict:
    """What becomes of the connection in this base chain."""
    found = through(walk, chain) or policy
    return Verdict.UNKNOWN if walk.doubts - {found} else found


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Of several base chains: a refusal of one is final, an acceptance is its own alone."""
    found = set(verdicts)
    for verdict in (Verdict.REFUSED, Verdict.UNKNOWN):
        if verdict in found:
            return verdict
    return Verdict.ACCEPTED
