"""Draining and leaving: what is published, what is in flight, and when that ends."""

import math

from agent.core import machines
from agent.core.facts import UNKNOWN, Facts, Level, Maybe, Phase, PhaseKind, ProxyFact, ProxyState, RedirectFact
from agent.core.health import Spec
from agent.core.reasons import Reason

# Seconds that peers may still dial a host after its removal from the slice, because they have not read it yet.
HEARD_WITHIN = 1.0
# There is no ExternalWorkload of this host, so nothing is published and nothing needs to be.
NO_WORKLOAD = frozenset({Reason.WORKLOAD_MISSING, Reason.WORKLOAD_KIND_ABSENT})


def announced(spec: Spec, facts: Facts, now: float) -> bool:
    """Ready=False is published, and no EndpointSlice lists this host. Without the right to read slices: peers have
    had time to read it."""
    since = _undialled_from(spec, facts)
    return since is not None and now >= since


def _undialled_from(spec: Spec, facts: Facts) -> float | None:
    """From when on peers no longer dial this host; None: that is not known."""
    fact = facts.workload
    if machines.of_another(spec, facts) is not None:
        return -math.inf  # nothing of this host is published
    if fact is UNKNOWN or (fact.seen is None and fact.fault is None):
        return None
    if fact.seen is None:
        return -math.inf if fact.fault is not None and fact.fault.reason in NO_WORKLOAD else None
    if fact.unready_since is None:
        return None
    slices = facts.slices
    if slices is UNKNOWN or slices.unlisted_since is None:
        return fact.unready_since + spec.settle if blind(facts) else None
    return slices.unlisted_since + HEARD_WITHIN


def blind(facts: Facts) -> bool:
    """This host may not read EndpointSlices. If it may but a reading fails, it waits, up to the limit."""
    slices = facts.slices
    return slices is not UNKNOWN and slices.fault is not None and slices.fault.reason is Reason.SLICES_FORBIDDEN


def quiet(spec: Spec, facts: Facts) -> bool:
    """Of both slots: open connections stay in the proxy that accepted them. What was counted while peers still
    dialled this host does not count."""
    after = _undialled_from(spec, facts)
    known = [fact for fact in (facts.proxy, facts.standby) if fact is not UNKNOWN]
    return facts.proxy is not UNKNOWN and all(
        _is_quiet(fact, -math.inf if after is None else after) for fact in known
    )


def _is_quiet(proxy: ProxyFact, after: float) -> bool:
    if proxy.state is ProxyState.STOPPED:
        return True
    return proxy.in_flight == 0 and proxy.counted_at is not None and proxy.counted_at >= after


def stopped(facts: Facts) -> bool:
    """None runs, and none may any moment."""
    proxy, standby = facts.proxy, facts.standby
    if proxy is UNKNOWN or proxy.state is not ProxyState.STOPPED or proxy.launching:
        return False
    return standby is UNKNOWN or (standby.state is ProxyState.STOPPED and not standby.launching)


_REASONS = {
    PhaseKind.DRAINED: Reason.DRAINING,
    PhaseKind.LEFT: Reason.LEFT,
    PhaseKind.SHUTTING_DOWN: Reason.SHUTTING_DOWN,
}


def going(phase: Maybe[Phase], facts: Facts) -> Reason | None:
    """Why this host drains or has drained; None: it is a member that is to serve, or this is not known."""
    if phase is UNKNOWN:
        return None
    return Reason.RETIRED if phase.kind is PhaseKind.MEMBER and retiring(facts) else _REASONS.get(phase.kind)


def retiring(facts: Facts) -> bool:
    """As the ExternalWorkload said when it was last read."""
    fact = facts.workload
    return fact is not UNKNOWN and fact.seen is not None and fact.seen.retiring


def has_drained(spec: Spec, phase: Maybe[Phase], facts: Facts, now: float) -> bool:
    """Not ready is published, and requests no longer arrive: the end of a drain."""
    if phase is UNKNOWN or going(phase, facts) is None:
        return False
    heard = announced(spec, facts, now) or nothing_to_lose(spec, phase, facts, now)
    return heard and quiet(spec, facts)


def nothing_to_lose(spec: Spec, phase: Phase, facts: Facts, now: float) -> bool:
    """The host shuts down, and peers can reach no proxy. If publishing fails for `drain.settle`, it no longer
    delays the shutdown; the next boot inherits nothing."""
    down = phase.kind is PhaseKind.SHUTTING_DOWN and stopped(facts)
    return down and now >= phase.since + spec.settle


def has_left(phase: Maybe[Phase], facts: Facts) -> bool:
    """The last step of LEFT is done: not advertised, no proxy, no rule."""
    redirect = facts.redirect
    return (
        phase is not UNKNOWN
        and phase.kind is PhaseKind.LEFT
        and stopped(facts)
        and isinstance(redirect, RedirectFact)
        and redirect.inbound is Level.OFF
        and redirect.outbound is Level.OFF
    )
