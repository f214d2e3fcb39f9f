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
- a known fault beats an unknown: advertise NO wins over HOLD;
- a host whose Lease is another machine's is not Ready, and writes nothing (core.conditions); of two hosts with one
  machine-id, that is the one without the address.

What each phase may change, on which fact ("closed" is BLOCK or ON, "open" is RELEASED or OFF):

| phase          | may close                         | may open                            | may advertise     |
| -------------- | --------------------------------- | ----------------------------------- | ----------------- |
| unknown        | nothing                           | nothing                             | nothing new       |
| MEMBER         | ON: proxy proved ready; BLOCK: a  | an open failure policy, on a known  | YES, NO, HOLD     |
|                | known fault, by failure policy    | fault of the proxy                  |                   |
| DRAINED        | as MEMBER                         | as MEMBER                           | NO                |
| MEMBER, retired| as MEMBER                         | as MEMBER                           | NO                |
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

from agent.core import anchors, control_plane, flaps, machines
from agent.core.facts import UNKNOWN, Facts, Maybe, Phase, PhaseKind
from agent.core.goals import Advertise, Goals, ProxyGoal, RedirectGoal, Verdict
from agent.core.health import Spec, Standing, Sure
from agent.core.late import replace
from agent.core.levels import (
    is_open,
    kept_open,
    left_levels,
    outbound_failed,
    outbound_is,
    redirect_standing,
    wanted_levels,
)
from agent.core.matching import addresses_standing
from agent.core.policy_drain import HEARD_WITHIN, announced, nothing_to_lose, quiet, retiring, stopped
from agent.core.policy_identity import identity_standing, margin_of, proxy_standing_for_peers, svid_usable
from agent.core.policy_slots import unread, with_slots
from agent.core.reasons import Fault, Reason
from agent.core.replacement import STOPPING, Replacement, Stage
from agent.core.slots import Slot
from agent.core.standings import probes_standing, proved, workload_standing

# After READY=1 an unknown fact holds Ready at least this long (design: truth of Ready).
HOLD_WINDOW = 60.0


def decide(spec: Spec, phase: Maybe[Phase], facts: Facts, now: float) -> Verdict:
    """Goals for this moment. `now`: seconds on the monotonic clock that the facts use."""
    if phase is UNKNOWN:
        return Verdict(Goals(reason=Reason.PHASE_UNREADABLE))
    if spec.slots and unread(facts):  # a new agent sees a main that is replaced before it sees who serves
        facts = replace(facts, proxy=UNKNOWN)
    change = facts.replacement
    match phase.kind:
        case PhaseKind.MEMBER | PhaseKind.DRAINED if change is UNKNOWN:
            goals = _recalling(spec, phase, facts, now)
        case PhaseKind.MEMBER | PhaseKind.DRAINED if change is not UNKNOWN and change and not change.over:
            goals = _replacing(spec, change, phase, facts, now)
        case PhaseKind.MEMBER if retiring(facts):
            goals = _serving(spec, facts, now, Advertise.NO, Reason.RETIRED)
        case PhaseKind.MEMBER:
            goals = _serving(spec, facts, now, *_advertise(spec, facts, now))
        case PhaseKind.DRAINED:
            goals = _serving(spec, facts, now, Advertise.NO, Reason.DRAINING)
        case PhaseKind.LEFT:
            goals = _leaving(spec, phase, facts, now, Reason.LEFT)
        case PhaseKind.SHUTTING_DOWN:
            goals = _leaving(spec, phase, facts, now, Reason.SHUTTING_DOWN)
    goals = _turning(spec, phase, facts, with_slots(spec, facts, goals, now), now)
    return Verdict(goals, _recheck_after(spec, phase, facts, now))


# standings: one aspect of the host each ------------------------------------------------------------


def standings(spec: Spec, facts: Facts, now: float) -> dict[str, Standing]:
    """Every aspect that Ready depends on, in the order in which a fault is named."""
    return {
        "IdentityValid": identity_standing(spec, facts, now),
        "ProxyReady": proxy_standing_for_peers(facts, now),
        **({"ControlPlaneReached": control_plane.standing(facts)} if spec.policy_awaited else {}),
        "RedirectActive": redirect_standing(spec, facts),
        "AddressesPresent": addresses_standing(spec, facts),
        "ProbesPassing": probes_standing(facts),
        "WorkloadMatches": workload_standing(spec, facts),
    }


# goals ---------------------------------------------------------------------------------------------


def _serving(spec: Spec, facts: Facts, now: float, advertise: Advertise, reason: Reason) -> Goals:
    running = svid_usable(spec, facts, now)
    inbound, outbound = wanted_levels(spec, facts, now)
    return Goals(ProxyGoal.RUNNING if running else ProxyGoal.HOLD, inbound, outbound, advertise, reason)


def _turning(spec: Spec, phase: Phase, facts: Facts, goals: Goals, now: float) -> Goals:
    """While the redirect turns to a proxy with which the host is ready, Ready stays as it is: the takeover may
    have turned it already. A turn that was refused holds nothing."""
    if phase.kind is not PhaseKind.MEMBER or goals.advertise is not Advertise.NO or retiring(facts):
        return goals
    if goals.slot in (None, facts.active) or facts.redirect is UNKNOWN or facts.redirect.fault is not None:
        return goals
    assert goals.slot is not None
    turned = replace(facts, redirect=replace(facts.redirect, slot=goals.slot))
    if _advertise(spec, turned, now)[0] is not Advertise.YES:
        return goals
    return replace(goals, advertise=Advertise.HOLD, reason=Reason.STARTING)


def _recalling(spec: Spec, phase: Phase, facts: Facts, now: float) -> Goals:
    """While it is not known whether a replacement of the proxy is under way, only a known fault is published."""
    if phase.kind is PhaseKind.DRAINED:
        return Goals(advertise=Advertise.NO, reason=Reason.DRAINING)
    advertise, reason = _advertise(spec, facts, now)
    known = advertise is Advertise.NO
    return Goals(advertise=advertise if known else Advertise.HOLD, reason=reason if known else Reason.STARTING)


def _advertise(spec: Spec, facts: Facts, now: float) -> tuple[Advertise, Reason]:
    if spec.outbound_only:
        return Advertise.NO, Reason.IDENTITY_OUTBOUND_ONLY
    if (another := machines.of_another(spec, facts)) is not None:
        return Advertise.NO, another
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
    levels = left_levels(facts, now) if left else kept_open(facts, wanted_levels(spec, facts, now))
    draining = _draining(spec, phase.since, facts, now, levels, reason)
    if draining is not None and not nothing_to_lose(spec, phase, facts, now):
        return draining
    if not left:
        return Goals(ProxyGoal.DRAINED, *levels, Advertise.NO, reason)
    if stopped(facts):
        return Goals(ProxyGoal.STOPPED, RedirectGoal.OFF, RedirectGoal.OFF, Advertise.NO, reason)
    levels = left_levels(facts, now, drained=True)
    proxy = ProxyGoal.STOPPED if is_open(facts) else ProxyGoal.DRAINED
    return Goals(proxy, *levels, Advertise.NO, reason)


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
    if not (late or quiet(spec, facts)):
        return Goals(ProxyGoal.DRAINED, *levels, Advertise.NO, reason)
    return None


def _replacing(spec: Spec, change: Replacement, phase: Phase, facts: Facts, now: float) -> Goals:
    """A verified proxy is not advertised yet: the host is Ready again only at the end of the replacement."""
    reason = Reason.PROXY_REPLACING
    if change.covered:
        return _covered(spec, change, phase, facts, now)
    if change.stage not in STOPPING:
        return _serving(spec, facts, now, Advertise.NO, reason)
    levels = wanted_levels(spec, facts, now)
    if change.stage is Stage.LEAVING and not stopped(facts):
        draining = _draining(spec, change.since, facts, now, levels, reason)
        if draining is not None:
            return draining
    if stopped(facts):
        return Goals(ProxyGoal.STOPPED, *levels, Advertise.NO, reason)
    # Outbound connections no longer go to a proxy that is about to stop.
    outbound = outbound_failed(spec, facts)
    proxy = ProxyGoal.STOPPED if outbound_is(facts, outbound) else ProxyGoal.DRAINED
    return Goals(proxy, levels[0], outbound, Advertise.NO, reason)


def _covered(spec: Spec, change: Replacement, phase: Phase, facts: Facts, now: float) -> Goals:
    """The standby serves, so the host stays as Ready as it is. Main stops only while the redirect does not name
    it, or a new one is not ready."""
    if phase.kind is PhaseKind.DRAINED:
        advertise, reason = Advertise.NO, Reason.DRAINING
    elif retiring(facts):
        advertise, reason = Advertise.NO, Reason.RETIRED
    else:
        advertise, reason = _advertise(spec, facts, now)
    goals = _serving(spec, facts, now, advertise, reason)
    if change.stage not in STOPPING:
        return goals
    useless = change.stage is Stage.GOING_BACK and proved(facts.proxy, now) is False
    stops = useless or facts.active is Slot.STANDBY
    return replace(goals, proxy=ProxyGoal.STOPPED if stops else ProxyGoal.HOLD)


# time ----------------------------------------------------------------------------------------------


def _recheck_after(spec: Spec, phase: Phase, facts: Facts, now: float) -> float | None:
    deadlines = [t for t in _deadlines(spec, phase, facts) if t > now]
    if (back_at := _back_at(facts, now)) is not None:
        deadlines.append(back_at)
    return min(deadlines) - now if deadlines else None


def _deadlines(spec: Spec, phase: Phase, facts: Facts) -> list[float]:
    """Every moment at which time alone may change the goals."""
    deadlines = [phase.since + spec.settle, phase.since + spec.drain_timeout]
    if facts.change is not None:
        deadlines.append(facts.change.since + spec.drain_timeout)
    if facts.identity is not UNKNOWN:
        deadlines.append(facts.identity.expires_at - margin_of(facts))
    if facts.anchors is not UNKNOWN and facts.anchors.expires_at is not None:
        deadlines.append(facts.anchors.expires_at - anchors.ANNOUNCED)
    if facts.proxy is not UNKNOWN and facts.proxy.certificate_expires_at is not None:
        deadlines += [facts.proxy.certificate_expires_at - margin_of(facts), facts.proxy.certificate_expires_at]
    if facts.workload is not UNKNOWN and facts.workload.unready_since is not None:
        deadlines.append(facts.workload.unready_since + spec.settle)
    if facts.slices is not UNKNOWN and facts.slices.unlisted_since is not None:
        deadlines.append(facts.slices.unlisted_since + HEARD_WITHIN)
    if facts.ready_at is not None:
        deadlines.append(facts.ready_at + max(HOLD_WINDOW, spec.probe_window))
    return deadlines
