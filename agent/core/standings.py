"""The standing of one aspect of the host each: good, a fault, or not sure. `levels` has the redirect's, and
`policy_identity` the identity's.
"""

from agent.core.facts import UNKNOWN, Facts, Maybe, ProxyFact, ProxyState, Workload
from agent.core.health import Spec, Standing, Sure
from agent.core.matching import differences
from agent.core.policy_drain import NO_WORKLOAD
from agent.core.reasons import Fault, Reason


def proxy_standing(facts: Facts, now: float) -> Standing:
    """Of the one that the redirect names."""
    return standing_of(facts.serving, now)


def proved(fact: Maybe[ProxyFact], now: float) -> Maybe[bool]:
    """It is proved ready."""
    standing = standing_of(fact, now)
    return UNKNOWN if standing is Sure.UNSURE else standing is Sure.GOOD


def standing_of(fact: Maybe[ProxyFact], now: float) -> Standing:
    if fact is UNKNOWN:
        return Sure.UNSURE
    match fact.state:
        case ProxyState.READY:
            expires = fact.certificate_expires_at
            expired = expires is None or now >= expires
            return Fault(Reason.PROXY_CERTIFICATE_EXPIRED) if expired else Sure.GOOD
        case ProxyState.UNREADABLE:
            return Sure.UNSURE
        case ProxyState.STOPPED:
            return fact.fault or Fault(Reason.PROXY_STOPPED)
        case ProxyState.STARTING:
            return fact.fault or Fault(Reason.PROXY_STARTING)
        case ProxyState.STOPPING:
            return Fault(Reason.PROXY_STOPPING)
        case ProxyState.NOT_READY:
            return fact.fault or Fault(Reason.PROXY_STARTING)


def probes_standing(facts: Facts) -> Standing:
    fact = facts.probes
    if fact is UNKNOWN:
        return Sure.UNSURE
    for probe in fact.probes:
        if probe.passing is False:
            return Fault(Reason.PROBE_FAILING, f"{probe.name}: {probe.detail}")
    return Sure.UNSURE if any(p.passing is UNKNOWN for p in fact.probes) else Sure.GOOD


def workload_standing(spec: Spec, facts: Facts) -> Standing:
    """Whether the ExternalWorkload that was last read is this host's. An API server that is not reachable does not
    remove Ready: the last reading stays valid."""
    fact = facts.workload
    if fact is UNKNOWN:
        return Sure.UNSURE
    if fact.seen is not None:
        return _matches(spec, fact.seen)
    if fact.fault is not None and fact.fault.reason in NO_WORKLOAD:
        return fact.fault
    return Sure.UNSURE


def ports_standing(spec: Spec, facts: Facts) -> Standing:
    """Whether the ExternalWorkload lists the ports that are redirected. Ready does not depend on it."""
    if facts.workload is UNKNOWN or facts.workload.seen is None:
        return Sure.GOOD
    theirs, here = sorted(facts.workload.seen.ports), sorted(spec.ports)
    return Sure.GOOD if theirs == here else Fault(Reason.PORTS_MISMATCH, f"{theirs} there, {here} here")


def _matches(spec: Spec, seen: Workload) -> Standing:
    """The reason is that of the first difference; the detail has all of them."""
    difference = differences(spec, seen)
    return (
        Fault(difference[0].reason, "; ".join(fault.detail for fault in difference)) if difference else Sure.GOOD
    )
