"""The levels of the redirect: which ones are intended, and whether they are in force.

`policy` says what each phase may close and open; every rule about one direction is here.
"""

from agent.core import control_plane, failure, opaque
from agent.core.facts import UNKNOWN, Facts, Level, Maybe
from agent.core.failure import Failure
from agent.core.goals import RedirectGoal
from agent.core.health import Spec, Standing, Sure
from agent.core.reasons import Fault, Reason, Severity
from agent.core.standings import proxy_standing


def wanted_levels(spec: Spec, facts: Facts, now: float) -> tuple[RedirectGoal, RedirectGoal]:
    """ON while the proxy is proved ready, the failure policy on a known fault, HOLD while unsure."""
    if not spec.redirect:
        return RedirectGoal.RELEASED, RedirectGoal.RELEASED
    match proxy_standing(facts, now):
        case Sure.GOOD:
            return _inbound(spec, facts), _outbound(spec, facts)
        case Sure.UNSURE:
            return RedirectGoal.HOLD, RedirectGoal.HOLD
        case Fault():
            return _failed(spec.inbound_failure, facts), outbound_failed(spec, facts)


def _inbound(spec: Spec, facts: Facts) -> RedirectGoal:
    """While the proxy is ready."""
    if (awaited := opaque.awaited(spec, facts)) is None:
        return RedirectGoal.ON
    return RedirectGoal.HOLD if awaited is UNKNOWN else RedirectGoal.RELEASED


def _outbound(spec: Spec, facts: Facts) -> RedirectGoal:
    """While the proxy is ready: ON once the policy controller has answered it."""
    failed = outbound_failed(spec, facts)
    if not spec.outbound:
        return failed
    level = control_plane.outbound(
        control_plane.proved(facts), UNKNOWN if failed is RedirectGoal.HOLD else Level(failed.value)
    )
    return RedirectGoal.HOLD if level is UNKNOWN else RedirectGoal(level.value)


def outbound_failed(spec: Spec, facts: Facts) -> RedirectGoal:
    return _failed(spec.outbound_failure if spec.outbound else Failure.OPEN, facts)


def _failed(policy: Failure, facts: Facts) -> RedirectGoal:
    once = facts.ready_once
    found = failure.level(policy, UNKNOWN if once is UNKNOWN else once.recorded)
    return RedirectGoal.HOLD if found is UNKNOWN else RedirectGoal(found.value)


def left_levels(facts: Facts, now: float, *, drained: bool = False) -> tuple[RedirectGoal, RedirectGoal]:
    """Of a host that leaves the mesh: a redirect that serves may stay until the host is drained."""
    serving = Fault(Reason.LEFT) if drained else proxy_standing(facts, now)

    def level(live: Maybe[Level]) -> RedirectGoal:
        if live in (UNKNOWN, Level.OFF) or (live is Level.ON and serving is Sure.UNSURE):
            return RedirectGoal.HOLD
        return RedirectGoal.ON if live is Level.ON and serving is Sure.GOOD else RedirectGoal.RELEASED

    inbound, outbound = _live(facts)
    return level(inbound), level(outbound)


def kept_open(facts: Facts, wanted: tuple[RedirectGoal, RedirectGoal]) -> tuple[RedirectGoal, RedirectGoal]:
    """An open or unknown level stays unchanged."""
    keep = {UNKNOWN, Level.OFF, Level.RELEASED}
    inbound, outbound = (
        RedirectGoal.HOLD if live in keep else goal for live, goal in zip(_live(facts), wanted, strict=True)
    )
    return inbound, outbound


def _live(facts: Facts) -> tuple[Maybe[Level], Maybe[Level]]:
    fact = facts.redirect
    return (UNKNOWN, UNKNOWN) if fact is UNKNOWN else (fact.inbound, fact.outbound)


def is_open(facts: Facts) -> bool:
    return set(_live(facts)) <= {Level.OFF, Level.RELEASED}


def outbound_is(facts: Facts, goal: RedirectGoal) -> bool:
    live = _live(facts)[1]
    if live is UNKNOWN:
        return False
    reached = {Level.OFF.value, Level.RELEASED.value} if goal is RedirectGoal.RELEASED else {goal.value}
    return live.value in reached


def redirect_standing(spec: Spec, facts: Facts) -> Standing:
    fact = facts.redirect
    if fact is UNKNOWN:
        return Sure.UNSURE
    if fact.fault is not None:
        return fact.fault
    if UNKNOWN in (fact.inbound, fact.outbound):
        return Sure.UNSURE
    if not spec.redirect:  # peers dial 4143 directly, which still needs connection tracking
        return Fault(Reason.REDIRECT_PENDING) if fact.inbound is Level.OFF else Sure.GOOD
    if fact.inbound is Level.BLOCK:
        return Fault(Reason.REDIRECT_BLOCKED, _effect(spec, Level.BLOCK))
    if isinstance(awaited := opaque.awaited(spec, facts), Fault):
        return awaited
    outbound = _outbound(spec, facts)  # before the control plane's answer the failure policy is the intended level
    as_intended = fact.inbound is Level.ON and (outbound is RedirectGoal.HOLD or outbound_is(facts, outbound))
    if as_intended and fact.firewall is not None and fact.firewall.entry.severity is Severity.FAULT:
        return fact.firewall
    return Sure.GOOD if as_intended else Fault(Reason.REDIRECT_PENDING, _effect(spec, fact.inbound))


def _effect(spec: Spec, inbound: Maybe[Level]) -> str:
    return failure.effect(inbound, failure.to_ports(spec.ports))
