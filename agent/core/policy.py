"""The decision, in one place: phase × facts × time → goals.

Invariants, each proved over every state of a small world in tests/core/test_world.py:
- on an UNKNOWN fact nothing is started, stopped, redirected or advertised;
- a host that peers cannot verify (token mode) is never advertised; everything else works as usual;
- Ready is advertised only while identity, proxy, redirect, probes and ExternalWorkload are all known good;
- a redirect is ON only while the proxy is proved ready, outbound only once the policy controller has answered this
  process of it, and Ready waits for that answer unless nothing is accepted before it (`deny`); a later loss
  changes neither; on a closed port there is no level between BLOCK and ON;
- before the first Ready, an open inbound turns ON only once the annotation has every port declared opaque;
- leaving goes Ready=False → in no EndpointSlice (or settled) → in-flight zero → both directions RELEASED → proxy
  stopped → OFF; a drain ends at in-flight zero, and so does a shutdown: systemd stops the proxy then, after the
  applications;
- a replacement of the proxy goes the same way up to its stop, then starts another, and is Ready only at its end;
- a known fault beats an unknown: advertise NO wins over HOLD.

What each phase may change, on which fact ("closed" is BLOCK or ON, "open" is RELEASED or OFF):

| phase          | may close                         | may open                            | may advertise     |
| -------------- | --------------------------------- | ----------------------------------- | ----------------- |
| unknown        | nothing                           | nothing                             | nothing new       |
| MEMBER         | ON: proxy proved ready; BLOCK: a  | an open failure policy, on a known  | YES, NO, HOLD     |
|                | known fault, by failure policy    | fault of the proxy                  |                   |
| DRAINED        | as MEMBER                         | as MEMBER                           | NO                |
| replacement    | as MEMBER                         | outbound before the proxy is stopped| NO                |
| SHUTTING_DOWN  | nothing that is open              | as MEMBER                           | NO                |
| LEFT           | nothing; never BLOCK              | BLOCK at once; ON on a known fault  | NO                |
|                |                                   | of the proxy, or once drained; OFF  |                   |
|                |                                   | once the proxy is known stopped     |                   |

In LEFT a direction that is OFF stays OFF, and an unknown fact changes no level. A new agent knows neither what was
published before nor what was drained; in LEFT it closes nothing for that reason. A replacement whose proxy is
stopped drains nothing.

An SVID is good only under the trust anchors in force. An SVID that they do not cover never starts a proxy. A
running proxy refuses it and keeps serving with the previous one, as it does while the source is silent.
"""

from agent.core import anchors, control_plane, failure, flaps, opaque
from agent.core.facts import UNKNOWN, Facts, Level, Maybe, Phase, PhaseKind, ProxyState, Workload
from agent.core.failure import Failure
from agent.core.goals import Advertise, Goals, ProxyGoal, RedirectGoal, Verdict
from agent.core.health import Spec, Standing, Sure
from agent.core.matching import addresses_standing, differences
from agent.core.policy_drain import (
    HEARD_WITHIN,
    NO_WORKLOAD,
    announced,
    has_drained,
    has_left,
    nothing_to_lose,
    quiet,
    stopped,
)
from agent.core.policy_identity import identity_remarks, identity_standing, margin_of, svid_usable, untrusted
from agent.core.reasons import Fault, Reason, Severity
from agent.core.replacement import STOPPING, Replacement, Stage

__all__ = [
    "HEARD_WITHIN",
    "Spec",
    "Standing",
    "Sure",
    "announced",
    "has_drained",
    "has_left",
    "identity_remarks",
    "svid_usable",
    "untrusted",
]

# After READY=1 an unknown fact holds Ready at least this long (design: truth of Ready).
HOLD_WINDOW = 60.0


def decide(spec: Spec, phase: Maybe[Phase], facts: Facts, now: float) -> Verdict:
    """Goals for this moment. `now`: seconds on the monotonic clock that the facts use."""
    if phase is UNKNOWN:
        return Verdict(Goals(reason=Reason.PHASE_UNREADABLE))
    change = facts.replacement
    match phase.kind:
        case PhaseKind.MEMBER | PhaseKind.DRAINED if change is UNKNOWN:
            goals = _recalling(spec, phase, facts, now)
        case PhaseKind.MEMBER | PhaseKind.DRAINED if change is not UNKNOWN and change and not change.over:
            goals = _replacing(spec, change, facts, now)
        case PhaseKind.MEMBER:
            goals = _serving(spec, facts, now, *_advertise(spec, facts, now))
        case PhaseKind.DRAINED:
            goals = _serving(spec, facts, now, Advertise.NO, Reason.DRAINING)
        case PhaseKind.LEFT:
            goals = _leaving(spec, phase, facts, now, Reason.LEFT)
        case PhaseKind.SHUTTING_DOWN:
            goals = _leaving(spec, phase, facts, now, Reason.SHUTTING_DOWN)
    return Verdict(goals, _recheck_after(spec, phase, facts, now))


# standings: one aspect of the host each ------------------------------------------------------------


def standings(spec: Spec, facts: Facts, now: float) -> dict[str, Standing]:
    """Every aspect that Ready depends on, in the order in which a fault is named."""
    return {
        "IdentityValid": identity_standing(spec, facts, now),
        "ProxyReady": proxy_standing(facts, now),
        **({"ControlPlaneReached": control_plane.standing(facts)} if spec.policy_awaited else {}),
        "RedirectActive": redirect_standing(spec, facts),
        "AddressesPresent": addresses_standing(spec, facts),
        "ProbesPassing": probes_standing(facts),
        "WorkloadMatches": workload_standing(spec, facts),
    }


def proxy_standing(facts: Facts, now: float) -> Standing:
    fact = facts.proxy
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
    as_intended = fact.inbound is Level.ON and (outbound is RedirectGoal.HOLD or _outbound_is(facts, outbound))
    if as_intended and fact.firewall is not None and fact.firewall.entry.severity is Severity.FAULT:
        return fact.firewall
    return Sure.GOOD if as_intended else Fault(Reason.REDIRECT_PENDING, _effect(spec, fact.inbound))


def _effect(spec: Spec, inbound: Maybe[Level]) -> str:
    return failure.effect(inbound, failure.to_ports(spec.ports))


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
    found = differences(spec, seen)
    return Fault(found[0].reason, "; ".join(fault.detail for fault in found)) if found else Sure.GOOD


# goals ---------------------------------------------------------------------------------------------


def _serving(spec: Spec, facts: Facts, now: float, advertise: Advertise, reason: Reason) -> Goals:
    running = svid_usable(spec, facts, now)
    inbound, outbound = _redirect(spec, facts, now)
    return Goals(ProxyGoal.RUNNING if running else ProxyGoal.HOLD, inbound, outbound, advertise, reason)


def _recalling(spec: Spec, phase: Phase, facts: Facts, now: float) -> Goals:
    """While it is not known whether a replacement of the proxy is under way, only a known fault is published."""
    if phase.kind is PhaseKind.DRAINED:
        return Goals(advertise=Advertise.NO, reason=Reason.DRAINING)
    advertise, reason = _advertise(spec, facts, now)
    known = advertise is Advertise.NO
    return Goals(advertise=advertise if known else Advertise.HOLD, reason=reason if known else Reason.STARTING)


def _redirect(spec: Spec, facts: Facts, now: float) -> tuple[RedirectGoal, RedirectGoal]:
    """ON while the proxy is proved ready, the failure policy on a known fault, HOLD while unsure."""
    if not spec.redirect:
        return RedirectGoal.RELEASED, RedirectGoal.RELEASED
    match proxy_standing(facts, now):
        case Sure.GOOD:
            return _inbound(spec, facts), _outbound(spec, facts)
        case Sure.UNSURE:
            return RedirectGoal.HOLD, RedirectGoal.HOLD
        case Fault():
            return _failed(spec.inbound_failure, facts), _outbound_failed(spec, facts)


def _inbound(spec: Spec, facts: Facts) -> RedirectGoal:
    """While the proxy is ready."""
    if (awaited := opaque.awaited(spec, facts)) is None:
        return RedirectGoal.ON
    return RedirectGoal.HOLD if awaited is UNKNOWN else RedirectGoal.RELEASED


def _outbound(spec: Spec, facts: Facts) -> RedirectGoal:
    """While the proxy is ready: ON once the policy controller has answered it."""
    failed = _outbound_failed(spec, facts)
    if not spec.outbound:
        return failed
    level = control_plane.outbound(
        control_plane.proved(facts), UNKNOWN if failed is RedirectGoal.HOLD else Level(failed.value)
    )
    return RedirectGoal.HOLD if level is UNKNOWN else RedirectGoal(level.value)


def _outbound_failed(spec: Spec, facts: Facts) -> RedirectGoal:
    return _failed(spec.outbound_failure if spec.outbound else Failure.OPEN, facts)


def _failed(policy: Failure, facts: Facts) -> RedirectGoal:
    once = facts.ready_once
    found = failure.level(policy, UNKNOWN if once is UNKNOWN else once.recorded)
    return RedirectGoal.HOLD if found is UNKNOWN else RedirectGoal(found.value)


def _advertise(spec: Spec, facts: Facts, now: float) -> tuple[Advertise, Reason]:
    if spec.outbound_only:
        return Advertise.NO, Reason.IDENTITY_OUTBOUND_ONLY
    every = list(standings(spec, facts, now).values())
    for standing in every:
        if isinstance(standing, Fault):
            return Advertise.NO, standing.reason
    if all(standing is Sure.GOOD for standing in every):
        back_at = _back_at(facts, now)
        return (Advertise.YES, Reason.HOST_READY) if back_at is None else (Advertise.NO, Reason.FLAPPING)
    return (Advertise.HOLD if may_hold(spec, facts, now) else Advertise.NO), Reason.STARTING


def _back_at(facts: Facts, now: float) -> float | None:
    """When a host that became not ready too often may be Ready again; None: at once."""
    fact = facts.workload
    if fact is UNKNOWN or not fact.fell_at or fact.seen is None or fact.seen.ready == "True":
        return None
    return flaps.held_until(fact.fell_at, now)


def may_hold(spec: Spec, facts: Facts, now: float) -> bool:
    """Whether the published Ready may stay while facts are unknown: only on the boot that published it, and for a
    limited time. A new boot inherits nothing."""
    if facts.lease is not UNKNOWN and facts.lease.boot_id not in (UNKNOWN, "", spec.boot_id):
        return False
    ready_at = facts.ready_at
    return ready_at is None or now < ready_at + max(HOLD_WINDOW, spec.probe_window)


# leaving -------------------------------------------------------------------------------------------


def _leaving(spec: Spec, phase: Phase, facts: Facts, now: float, reason: Reason) -> Goals:
    """The steps in order; each waits for the fact that the previous one is done."""
    left = phase.kind is PhaseKind.LEFT
    levels = left_levels(facts, now) if left else _kept_open(facts, _redirect(spec, facts, now))
    draining = _draining(spec, phase.since, facts, now, levels, reason)
    if draining is not None and not nothing_to_lose(spec, phase, facts, now):
        return draining
    if not left:
        return Goals(ProxyGoal.DRAINED, *levels, Advertise.NO, reason)
    if stopped(facts):
        return Goals(ProxyGoal.STOPPED, RedirectGoal.OFF, RedirectGoal.OFF, Advertise.NO, reason)
    levels = left_levels(facts, now, drained=True)
    proxy = ProxyGoal.STOPPED if _open(facts) else ProxyGoal.DRAINED
    return Goals(proxy, *levels, Advertise.NO, reason)


def left_levels(facts: Facts, now: float, *, drained: bool = False) -> tuple[RedirectGoal, RedirectGoal]:
    """Of a host that leaves the mesh: a redirect that serves may stay until the host is drained."""
    serving = Fault(Reason.LEFT) if drained else proxy_standing(facts, now)

    def level(live: Maybe[Level]) -> RedirectGoal:
        if live in (UNKNOWN, Level.OFF) or (live is Level.ON and serving is Sure.UNSURE):
            return RedirectGoal.HOLD
        return RedirectGoal.ON if live is Level.ON and serving is Sure.GOOD else RedirectGoal.RELEASED

    inbound, outbound = _live(facts)
    return level(inbound), level(outbound)


def _kept_open(facts: Facts, wanted: tuple[RedirectGoal, RedirectGoal]) -> tuple[RedirectGoal, RedirectGoal]:
    """An open or unknown level stays unchanged."""
    keep = {UNKNOWN, Level.OFF, Level.RELEASED}
    inbound, outbound = (
        RedirectGoal.HOLD if live in keep else goal for live, goal in zip(_live(facts), wanted, strict=True)
    )
    return inbound, outbound


def _live(facts: Facts) -> tuple[Maybe[Level], Maybe[Level]]:
    fact = facts.redirect
    return (UNKNOWN, UNKNOWN) if fact is UNKNOWN else (fact.inbound, fact.outbound)


def _open(facts: Facts) -> bool:
    return set(_live(facts)) <= {Level.OFF, Level.RELEASED}


def _draining(
    spec: Spec,
    since: float,
    facts: Facts,
    now: float,
    levels: tuple[RedirectGoal, RedirectGoal],
    reason: Reason,
) -> Goals | None:
    """None once requests no longer arrive, or the time limit has expired."""
    late = now >= since + spec.drain_timeout
    if not (late or announced(spec, facts, now)):
        return Goals(ProxyGoal.HOLD, *levels, Advertise.NO, reason)
    if not (late or quiet(facts)):
        return Goals(ProxyGoal.DRAINED, *levels, Advertise.NO, reason)
    return None


def _replacing(spec: Spec, change: Replacement, facts: Facts, now: float) -> Goals:
    """A verified proxy is not advertised yet: the host is Ready again only at the end of the replacement."""
    reason = Reason.PROXY_REPLACING
    if change.stage not in STOPPING:
        return _serving(spec, facts, now, Advertise.NO, reason)
    levels = _redirect(spec, facts, now)
    if change.stage is Stage.LEAVING and not stopped(facts):
        draining = _draining(spec, change.since, facts, now, levels, reason)
        if draining is not None:
            return draining
    if stopped(facts):
        return Goals(ProxyGoal.STOPPED, *levels, Advertise.NO, reason)
    # Outbound connections no longer go to a proxy that is about to stop.
    outbound = _outbound_failed(spec, facts)
    proxy = ProxyGoal.STOPPED if _outbound_is(facts, outbound) else ProxyGoal.DRAINED
    return Goals(proxy, levels[0], outbound, Advertise.NO, reason)


def _outbound_is(facts: Facts, goal: RedirectGoal) -> bool:
    live = _live(facts)[1]
    if live is UNKNOWN:
        return False
    reached = {Level.OFF.value, Level.RELEASED.value} if goal is RedirectGoal.RELEASED else {goal.value}
    return live.value in reached


# time ----------------------------------------------------------------------------------------------


def _recheck_after(spec: Spec, phase: Phase, facts: Facts, now: float) -> float | None:
    deadlines = [t for t in _deadlines(spec, phase, facts) if t > now]
    if (back_at := _back_at(facts, now)) is not None:
        deadlines.append(back_at)
    return min(deadlines) - now if deadlines else None


def _deadlines(spec: Spec, phase: Phase, facts: Facts) -> list[float]:
    """Every moment at which time alone may change the goals."""
    found = [phase.since + spec.settle, phase.since + spec.drain_timeout]
    if facts.change is not None:
        found.append(facts.change.since + spec.drain_timeout)
    if facts.identity is not UNKNOWN:
        found.append(facts.identity.expires_at - margin_of(facts))
    if facts.anchors is not UNKNOWN and facts.anchors.expires_at is not None:
        found.append(facts.anchors.expires_at - anchors.ANNOUNCED)
    if facts.proxy is not UNKNOWN and facts.proxy.certificate_expires_at is not None:
        found += [facts.proxy.certificate_expires_at - margin_of(facts), facts.proxy.certificate_expires_at]
    if facts.workload is not UNKNOWN and facts.workload.unready_since is not None:
        found.append(facts.workload.unready_since + spec.settle)
    if facts.slices is not UNKNOWN and facts.slices.unlisted_since is not None:
        found.append(facts.slices.unlisted_since + HEARD_WITHIN)
    if facts.ready_at is not None:
        found.append(facts.ready_at + max(HOLD_WINDOW, spec.probe_window))
    return found
