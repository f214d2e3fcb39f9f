"""The Ready condition that the mesh reads, and what goes into the Lease.

A condition holds nothing volatile: each write of the ExternalWorkload that changes neither readiness nor
addresses makes linkerd-destination log an error (facts §6.1). So its message is a function of its reason.
"""

from collections.abc import Sequence

from agent.core.facts import UNKNOWN, Condition, Facts, Workload
from agent.core.goals import Advertise, Goals
from agent.core.policy import Spec
from agent.core.reasons import REGISTRY, Severity

READY = "Ready"


def conditions(seen: Workload, goals: Goals, wall: str) -> tuple[Condition, ...] | None:
    """The whole conditions array to write, or None while nothing is to be written.

    `wall`: now as RFC 3339. Exactly one Ready entry comes out, in the place of the first; the entries of
    others are kept. lastTransitionTime moves only when the status flips.
    """
    if goals.advertise is Advertise.HOLD:
        return None
    mine = [c for c in seen.conditions if c.type == READY]
    wanted = _ready(goals, mine[0] if mine else None, wall)
    if mine == [wanted]:
        return None
    others = [c for c in seen.conditions if c.type != READY]
    place = next((i for i, c in enumerate(seen.conditions) if c.type == READY), len(others))
    return (*others[:place], wanted, *others[place:])


def _ready(goals: Goals, before: Condition | None, wall: str) -> Condition:
    status = "True" if goals.advertise is Advertise.YES else "False"
    entry = REGISTRY[goals.reason]
    message = entry.text if entry.severity is Severity.OK or not entry.remedy else f"{entry.text}; {entry.remedy}"
    moved = before is None or before.status != status or not before.last_transition_time
    since = wall if moved or before is None else before.last_transition_time
    probed = before.last_probe_time if before is not None else ""
    return Condition(READY, status, goals.reason.value, message, since, probed)


def same_status(seen: Workload, wanted: Sequence[Condition]) -> bool:
    """Writing `wanted` would tell the mesh nothing that it acts upon: one Ready entry, of the same status."""
    statuses = [[c.status for c in entries if c.type == READY] for entries in (seen.conditions, wanted)]
    return statuses[0] == statuses[1]


def told(facts: Facts, goals: Goals) -> bool:
    """The mesh has been told what the goals say now."""
    fact = facts.workload
    if fact is UNKNOWN or fact.seen is None or goals.advertise is Advertise.HOLD:
        return False
    return (fact.seen.ready == "True") == (goals.advertise is Advertise.YES)


def vouched_boot(spec: Spec, facts: Facts, goals: Goals) -> str | None:
    """The boot id that a renewal may write into the Lease; None: leave what stands there.

    It says "what the mesh was told, it was told on this boot", so a new boot writes it only after the mesh
    has been told anew; else an agent that dies in between would, on its return, take an old Ready=True for
    one of its own.
    """
    lease = facts.lease
    if lease is not UNKNOWN and lease.boot_id == spec.boot_id:
        return spec.boot_id
    return spec.boot_id if told(facts, goals) else None
