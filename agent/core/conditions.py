"""The conditions that a host writes into its ExternalWorkload, and what goes into its Lease.

A condition holds nothing volatile: each write of the ExternalWorkload that changes neither readiness nor
addresses makes linkerd-destination log an error (docs/linkerd.md §6.1). So its message is a function of its
reason.
"""

from collections.abc import Iterator, Sequence

from agent.core import machines, policy, policy_drain
from agent.core.facts import UNKNOWN, Condition, Facts, Maybe, Phase, Workload
from agent.core.goals import Advertise, Goals
from agent.core.health import Spec, Standing, Sure
from agent.core.late import dataclass
from agent.core.policy_identity import identity_remarks
from agent.core.reasons import REGISTRY, Fault, Reason, Severity
from agent.core.standings import ports_standing

READY = "Ready"
PREFIX = "fairlead.dev/"
DRAINING = PREFIX + "Draining"
# The aspects that have a condition, and the reason of each when it is good.
GOOD = {
    "IdentityValid": Reason.IDENTITY_VALID,
    "ProxyReady": Reason.PROXY_READY,
    "ControlPlaneReached": Reason.CONTROL_PLANE_REACHED,
    "RedirectActive": Reason.REDIRECT_ACTIVE,
    "ProbesPassing": Reason.PROBES_PASSING,
}
# Warnings on good conditions; each lasts until an operator acts, so it costs one write.
LASTING = frozenset(
    {
        Reason.PORTS_MISMATCH,
        Reason.FIREWALL_UNCLEAR,
        Reason.TRUST_ANCHORS_EXPIRING,
        Reason.TRUST_ANCHORS_PROPOSED,
        Reason.TRUST_ANCHORS_REFUSED,
    }
)
OURS = (READY, *(PREFIX + name for name in GOOD), DRAINING)


@dataclass(frozen=True)
class Word:
    """The wanted content of one condition."""

    type: str
    status: str  # True | False | Unknown
    reason: Reason


# what is to be said --------------------------------------------------------------------------------


def words(spec: Spec, phase: Maybe[Phase], facts: Facts, goals: Goals, now: float) -> tuple[Word, ...]:
    """The conditions that are known now. A condition that is not among them stays unchanged (HOLD), so an agent
    that has just started, and knows nothing, writes nothing. Neither does one whose Lease is another machine's."""
    another = machines.of_another(spec, facts) is not None
    return () if another else tuple(_words(spec, phase, facts, goals, now))


def _words(spec: Spec, phase: Maybe[Phase], facts: Facts, goals: Goals, now: float) -> Iterator[Word]:
    if goals.advertise is not Advertise.HOLD:
        yield Word(READY, "True" if goals.advertise is Advertise.YES else "False", goals.reason)
    hold = policy.may_hold(spec, facts, now)
    going = policy_drain.going(phase, facts)
    for name, standing in policy.standings(spec, facts, now).items():
        if name not in GOOD:
            continue
        if standing is Sure.GOOD:
            standing = _remark(name, spec, facts, now) or standing
        if standing is not Sure.UNSURE or not hold:
            yield _word(name, as_wanted(standing, going))
    if phase is not UNKNOWN:
        yield Word(DRAINING, "True" if going else "False", going or Reason.NOT_DRAINING)


def _remark(name: str, spec: Spec, facts: Facts, now: float) -> Fault | None:
    """A warning that becomes the reason of a condition that is True."""
    match name:
        case "RedirectActive":
            ports = ports_standing(spec, facts)
            unclear = None if facts.redirect is UNKNOWN else facts.redirect.firewall
            return ports if isinstance(ports, Fault) else unclear
        case "IdentityValid":
            return next((fault for fault in identity_remarks(facts, now) if fault.reason in LASTING), None)
    return None


def _word(name: str, standing: Standing) -> Word:
    match standing:
        case Sure.GOOD:
            return Word(PREFIX + name, "True", GOOD[name])
        case Sure.UNSURE:
            return Word(PREFIX + name, "Unknown", Reason.STARTING)
        case Fault(reason) if reason in LASTING:
            return Word(PREFIX + name, "True", reason)
        case Fault(reason):
            return Word(PREFIX + name, "False", reason)


def as_wanted(standing: Standing, going: Reason | None) -> Standing:
    """On a host that leaves, a stopped proxy and a redirect that is off are not faults."""
    asked = going is not None and isinstance(standing, Fault) and standing.entry.severity is Severity.WAIT
    return Fault(going) if asked and going is not None else standing


# what is to be written -----------------------------------------------------------------------------


def differing(seen: Workload, said: Sequence[Word]) -> tuple[Word, ...]:
    """The wanted conditions that are not written yet, each exactly once."""
    return tuple(w for w in said if [(c.status, c.reason) for c in of(seen, w.type)] != [(w.status, w.reason)])


def of(seen: Workload, kind: str) -> list[Condition]:
    return [c for c in seen.conditions if c.type == kind]


def flips(seen: Workload, said: Sequence[Word]) -> bool:
    """Whether a write of these conditions affects the mesh."""
    return any([c.status for c in of(seen, READY)] != [w.status] for w in said if w.type == READY)


def written(seen: Workload, said: Sequence[Word], wall: str) -> tuple[Condition, ...]:
    """The whole conditions array with these conditions in it. `wall`: now as RFC 3339.

    Each of their types is in it exactly once, at the position of its first entry or at the end. Other entries,
    such as conditions of other programs, are kept. lastTransitionTime changes only when the status flips.
    """
    fresh = {w.type: _condition(w, next(iter(of(seen, w.type)), None), wall) for w in said}
    found = [fresh.pop(c.type, None) if c.type in {w.type for w in said} else c for c in seen.conditions]
    return (*(c for c in found if c is not None), *fresh.values())


def _condition(word: Word, before: Condition | None, wall: str) -> Condition:
    moved = before is None or before.status != word.status or not before.last_transition_time
    since = wall if moved or before is None else before.last_transition_time
    # Never written here. An existing one is removed at the first flip, because it is wrong then.
    probed = "" if moved or before is None else before.last_probe_time
    return Condition(word.type, word.status, word.reason.value, message(word.reason), since, probed)


def message(reason: Reason) -> str:
    entry = REGISTRY[reason]
    return entry.text if entry.severity is Severity.OK or not entry.remedy else f"{entry.text}; {entry.remedy}"


# what was said -------------------------------------------------------------------------------------


def told(facts: Facts, goals: Goals) -> bool:
    """The current goals are published."""
    fact = facts.workload
    if fact is UNKNOWN or fact.seen is None or goals.advertise is Advertise.HOLD:
        return False
    return (fact.seen.ready == "True") == (goals.advertise is Advertise.YES)


def vouched_boot(spec: Spec, facts: Facts, goals: Goals) -> str | None:
    """The boot id that a renewal may write into the Lease; None: leave the current one.

    It means "the conditions were published on this boot", so a new boot writes it only after it has published
    again. Else an agent that dies in between would, after its restart, take an old Ready=True for one of this
    boot.
    """
    lease = facts.lease
    if lease is not UNKNOWN and lease.boot_id == spec.boot_id:
        return spec.boot_id
    return spec.boot_id if told(facts, goals) else None
