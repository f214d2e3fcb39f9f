"""The identity's part of the decision: whether this host has one that the proxy can use, and until when."""

from agent.core import anchors
from agent.core.facts import UNKNOWN, Facts, ProxyState
from agent.core.health import Spec, Standing, Sure
from agent.core.identity import EXPIRY_MARGIN, OVERDUE, margin
from agent.core.reasons import Fault, Reason
from agent.core.standings import proxy_standing

# Trouble with the *source* of identity. It alone does not remove Ready: while the source is silent, the proxy's
# certificate counts.
SILENT_SOURCE = frozenset(
    {
        Reason.WORKLOAD_API_ABSENT,
        Reason.WORKLOAD_API_REFUSED,
        Reason.WORKLOAD_API_DENIED,
        Reason.WORKLOAD_API_SILENT,
        Reason.WORKLOAD_API_FAILED,
        Reason.WORKLOAD_API_INVALID,
        Reason.IDENTITY_MALFORMED,
    }
)


def svid_usable(spec: Spec, facts: Facts, now: float) -> bool:
    """The Workload API has issued a matching SVID that is valid and covered: the proxy may be started."""
    return _in_time(spec, facts, now) and facts.anchors is not UNKNOWN and untrusted(facts) is None


def _in_time(spec: Spec, facts: Facts, now: float) -> bool:
    fact = facts.identity
    if fact is UNKNOWN or fact.svid is None or fact.svid.spiffe_id != spec.identity:
        return False
    return now < fact.expires_at - margin_of(facts)


def untrusted(facts: Facts) -> Fault | None:
    """The trust anchors in force do not cover the SVID that is held."""
    fact, anchored = facts.identity, facts.anchors
    if fact is UNKNOWN or anchored is UNKNOWN or fact.svid is None or not anchored.untrusted:
        return None
    mine = anchored.untrusted == fact.svid.fingerprint
    return Fault(Reason.IDENTITY_UNTRUSTED, fact.svid.spiffe_id) if mine else None


def identity_standing(spec: Spec, facts: Facts, now: float) -> Standing:
    fact = facts.identity
    if fact is UNKNOWN or facts.anchors is UNKNOWN:
        return Sure.UNSURE
    if svid_usable(spec, facts, now):
        return Sure.GOOD
    fault = fact.fault or Fault(Reason.IDENTITY_EXPIRED)
    if fact.svid is not None:  # it has expired, or is not covered; what the proxy has proves the identity
        in_time = _in_time(spec, facts, now)
        fault = (untrusted(facts) if in_time else None) or Fault(Reason.IDENTITY_EXPIRED)
    elif fault.reason not in SILENT_SOURCE and not spec.outbound_only:  # a token is asked for at its refresh alone
        return fault
    return _by_proxy_certificate(facts, now, fault)


def identity_remarks(facts: Facts, now: float) -> list[Fault]:
    """Warnings for an operator although the identity is good, the most important first."""
    faults = []
    if facts.anchors is not UNKNOWN:
        ends = facts.anchors.expires_at
        if ends is not None and now >= ends - anchors.ANNOUNCED:
            faults.append(Fault(Reason.TRUST_ANCHORS_EXPIRING))
        if facts.anchors.fault is not None:
            faults.append(facts.anchors.fault)
    if (late := _overdue_at(facts)) is not None and now >= late:
        faults.append(Fault(Reason.IDENTITY_OVERDUE))
    return faults


def _overdue_at(facts: Facts) -> float | None:
    fact = facts.identity
    if fact is UNKNOWN or fact.svid is None:
        return None
    return fact.expires_at - (1 - OVERDUE) * (fact.expires_at - fact.received_at)


def _by_proxy_certificate(facts: Facts, now: float, fault: Fault) -> Standing:
    proxy = facts.serving
    if proxy is UNKNOWN or proxy.state is ProxyState.UNREADABLE:
        return Sure.UNSURE
    expires = proxy.certificate_expires_at
    alive = proxy.state not in (ProxyState.STOPPED, ProxyState.STOPPING)
    return Sure.GOOD if alive and expires is not None and now < expires - margin_of(facts) else fault


def proxy_standing_for_peers(facts: Facts, now: float) -> Standing:
    """As proxy_standing, which the redirect follows to the end of the certificate; but it ends a margin before it:
    it is this certificate that peers verify, and Linkerd needs that time to tell them. Before the first SVID is
    known, neither is the margin."""
    return proxy_standing(facts, now if facts.identity is UNKNOWN else now + margin_of(facts))


def margin_of(facts: Facts) -> float:
    """Of the SVID, and of the proxy's certificate: only its end is known, so the SVID stands for it."""
    fact = facts.identity
    return EXPIRY_MARGIN if fact is UNKNOWN or fact.svid is None else margin(fact.expires_at - fact.received_at)
