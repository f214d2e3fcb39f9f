"""What the status socket shows: facts, goals, conditions and reasons as one JSON-ready value, and the headline."""

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.core import conditions, control_plane, matching, opaque, policy, policy_drain, restart_pending
from agent.core.attempts import LastAttempt
from agent.core.facts import UNKNOWN, Facts, Maybe, Phase, PhaseKind, ProxyState
from agent.core.goals import Advertise, Goals, ProxyGoal
from agent.core.health import Spec, Standing, Sure
from agent.core.policy_drain import announced, has_drained, has_left
from agent.core.policy_identity import identity_remarks, untrusted
from agent.core.policy_slots import remark
from agent.core.reasons import REGISTRY, Fault, Reason
from agent.core.replacement import Replacement, Stage
from agent.core.standings import ports_standing

# Of what `status --json` promises. Keys may be added under the same number; where one goes or changes its meaning,
# the number changes.
SCHEMA: Final = 1

# What a standing is called when it is good.
_GOOD = {
    **conditions.GOOD,
    "AddressesPresent": Reason.ADDRESSES_PRESENT,
    "WorkloadMatches": Reason.WORKLOAD_MATCHES,
}


def snapshot(spec: Spec, phase: Maybe[Phase], facts: Facts, goals: Goals, now: float) -> dict[str, Any]:
    """`{"phase", "ready", "headline", "drained", "left", "facts", "goals", "conditions", "problems"}`; times in
    facts are seconds from now."""
    return {
        "phase": phase_name(phase),
        "ready": published(facts),
        "headline": headline(spec, phase, facts, goals, now),
        "drained": has_drained(spec, phase, facts, now),
        "left": has_left(phase, facts),
        "facts": plain(facts, now),
        "goals": plain(goals, now),
        **judged(spec, phase, facts, now),
    }


def judged(spec: Spec, phase: Maybe[Phase], facts: Facts, now: float) -> dict[str, list[dict[str, str]]]:
    """`{"conditions", "problems"}`, which are among the metrics too."""
    return {
        "conditions": [_condition(name, s) for name, s in _standings(spec, phase, facts, now).items()],
        "problems": [_problem(fault) for fault in problems(spec, facts, now, phase)],
    }


def headline(spec: Spec, phase: Maybe[Phase], facts: Facts, goals: Goals, now: float) -> str:
    """One line for people: what this host is to the mesh, and why."""
    if phase is UNKNOWN:
        return "Unknown: " + REGISTRY[Reason.PHASE_UNREADABLE].text
    if has_left(phase, facts):
        return "Left: this host is out of the mesh"
    reason = policy_drain.going(phase, facts)
    if reason is not None and (phase.kind in _LAST or not _active(facts)):
        return _going(spec, phase, reason, facts, goals, now)
    change = facts.change
    if change is not None and not change.over:
        return f"Replacing the proxy{_by(change)}: {_replacing(spec, change, facts, goals, now)}"
    match goals.advertise:
        case Advertise.YES:
            return "Ready: " + REGISTRY[goals.reason].text
        case Advertise.NO:
            return _why(goals)
        case Advertise.HOLD:
            waits = [name for name, s in policy.standings(spec, facts, now).items() if s is Sure.UNSURE]
            return "Starting: not known yet: " + ", ".join(waits)


def _why(goals: Goals) -> str:
    return f"Not ready: {goals.reason.value}: {REGISTRY[goals.reason].text}"


_LAST = (PhaseKind.LEFT, PhaseKind.SHUTTING_DOWN)
_GOING = {
    Reason.DRAINING: "Draining",
    Reason.RETIRED: "Retiring",
    Reason.LEFT: "Leaving",
    Reason.SHUTTING_DOWN: "Shutting down",
}


def _going(spec: Spec, phase: Phase, reason: Reason, facts: Facts, goals: Goals, now: float) -> str:
    if phase.kind is PhaseKind.LEFT and goals.proxy is ProxyGoal.STOPPED:
        return "Leaving: stopping the proxy, then taking the redirect away"
    if has_drained(spec, phase, facts, now) and phase.kind is not PhaseKind.LEFT:
        done = "Retired" if reason is Reason.RETIRED else "Drained"
        return f"{done}: no request comes here any more, and the proxy runs on"
    return f"{_GOING[reason]}: {_step(spec, facts, now)}"


def _by(change: Replacement) -> str:
    return f" by {change.wanted}" if change.way_back else ""


def _active(facts: Facts) -> bool:
    return facts.replacing


def _replacing(spec: Spec, change: Replacement, facts: Facts, goals: Goals, now: float) -> str:
    match change.stage:
        case Stage.PREPARING | Stage.COVERING:
            return "starting a second one, and waiting until it serves"
        case Stage.LEAVING if goals.proxy is not ProxyGoal.STOPPED:
            return _step(spec, facts, now)
        case Stage.LEAVING:
            return "stopping the one that runs"
        case Stage.STARTING:
            return "starting it, and waiting until it is ready"
        case Stage.WITHDRAWING:
            return f"the second one did not work ({change.detail}), so it is stopped"
        case Stage.GOING_BACK:
            return f"it did not become ready ({change.detail}), so it is stopped"
        case _:
            return f"starting {change.previous} again"


def _step(spec: Spec, facts: Facts, now: float) -> str:
    slices = facts.slices
    if announced(spec, facts, now):
        count = None if facts.proxy is UNKNOWN else facts.proxy.in_flight
        return f"waiting for open connections to end ({'?' if count is None else count} in flight)"
    if slices is not UNKNOWN and slices.listed is True:
        return "waiting until no EndpointSlice lists this host"
    return "publishing Ready=False, and waiting until clients have read it"


def _standings(spec: Spec, phase: Maybe[Phase], facts: Facts, now: float) -> dict[str, Standing]:
    """In LEFT, a proxy that does not run and a redirect that is off are as intended: their reason is Left."""
    standings = policy.standings(spec, facts, now)
    if phase is UNKNOWN or phase.kind is not PhaseKind.LEFT:
        return standings
    if _stopped_as_intended(facts):
        standings["ProxyReady"] = Fault(Reason.LEFT)
    return {name: conditions.as_wanted(standing, Reason.LEFT) for name, standing in standings.items()}


def _stopped_as_intended(facts: Facts) -> bool:
    """Whatever ended it, or kept it from its start: in LEFT nobody waits for it."""
    fact = facts.proxy
    if fact is UNKNOWN or fact.state is not ProxyState.STOPPED or fact.launching:
        return False
    return fact.fault is None or fact.fault.reason is not Reason.PROXY_UNIT_FAILED


def problems(spec: Spec, facts: Facts, now: float, phase: Maybe[Phase] = UNKNOWN) -> Iterator[Fault]:
    """Every fault of the moment, once: standings first, then troubles that leave Ready alone. A symptom stays
    silent while its cause is among them."""
    faults: dict[Reason, Fault] = {}
    for standing in [*_standings(spec, phase, facts, now).values(), *_asides(spec, facts, now)]:
        if isinstance(standing, Fault):
            faults.setdefault(standing.reason, standing)
    if phase is not UNKNOWN and phase.kind is PhaseKind.LEFT:
        intended = {Reason.LEFT, Reason.STANDBY_NOT_READY}
        if _stopped_as_intended(facts) and facts.proxy is not UNKNOWN and facts.proxy.fault is not None:
            intended.add(facts.proxy.fault.reason)
        faults = {reason: fault for reason, fault in faults.items() if reason not in intended}
    return (fault for fault in faults.values() if not fault.entry.depends_on & faults.keys())


def _asides(spec: Spec, facts: Facts, now: float) -> Iterator[Standing | None]:
    yield untrusted(facts)
    yield from identity_remarks(facts, now)
    yield from control_plane.remarks(facts)
    here = (facts.identity, facts.serving, facts.redirect, facts.addresses)
    for fact in (*here, facts.workload, facts.lease, facts.slices, facts.ready_once):
        yield None if fact is UNKNOWN else fact.fault
    if facts.workload is not UNKNOWN:
        yield facts.workload.edited
    if facts.redirect is not UNKNOWN:
        yield facts.redirect.suspended
        yield facts.redirect.edited
        yield facts.redirect.firewall
    yield remark(spec, facts, now)
    yield _outcome(facts)
    yield from (fault for fault in (facts.configuration, facts.folders, facts.metrics) if fault is not UNKNOWN)
    yield from restart_pending.remarks(facts)
    yield from _differences(spec, facts)
    yield ports_standing(spec, facts)
    yield opaque.mismatch(spec, facts)


def _differences(spec: Spec, facts: Facts) -> tuple[Fault, ...]:
    """Each with its own remedy; the standing has the reason of the first alone."""
    seen = None if facts.workload is UNKNOWN else facts.workload.seen
    return () if seen is None else matching.differences(spec, seen)


def _outcome(facts: Facts) -> Fault | None:
    """Of the last replacement, where it is not what was wanted."""
    change = facts.change
    match None if change is None else change.stage:
        case Stage.BACK_AGAIN:
            return Fault(Reason.PROXY_WENT_BACK, change.detail if change else "")
        case Stage.FAILED:
            return Fault(Reason.PROXY_REPLACEMENT_FAILED, change.detail if change else "")
    return None


def phase_name(phase: Maybe[Phase]) -> str:
    return "unknown" if phase is UNKNOWN else phase.kind.value


def published(facts: Facts) -> dict[str, str]:
    """The Ready condition as it stands at the API server."""
    if facts.workload is UNKNOWN or facts.workload.seen is None:
        return {"status": "", "reason": ""}
    mine = [c for c in facts.workload.seen.conditions if c.type == "Ready"]
    status = facts.workload.seen.ready
    return {"status": status, "reason": next((c.reason for c in mine if c.status == status), "")}


def _condition(name: str, standing: Standing) -> dict[str, str]:
    match standing:
        case Sure.GOOD:
            return {"type": name, "status": "True", "reason": _GOOD[name].value, "message": ""}
        case Sure.UNSURE:
            return {"type": name, "status": "Unknown", "reason": Reason.STARTING.value, "message": ""}
        case Fault(reason, detail):
            return {"type": name, "status": "False", "reason": reason.value, "message": detail}


def _problem(fault: Fault) -> dict[str, str]:
    entry = fault.entry
    return {
        "reason": fault.reason.value,
        "severity": entry.severity.value,
        "text": entry.text,
        "detail": fault.detail,
        "remedy": fault.way_out,
    }


def plain(value: Any, now: float) -> Any:
    """A frozen value as JSON; monotonic times (`..._at`, `..._since`) as seconds from now, rounded."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [plain(item, now) for item in value]
    if dataclasses.is_dataclass(value):
        # What has no place in a repr has none here: certificates in binary, for one.
        shown = [f.name for f in dataclasses.fields(value) if f.repr]
        return {name: _field(name, getattr(value, name), now) for name in shown}
    return value


def timed(values: Mapping[str, Any], now: float) -> dict[str, Any]:
    """A flat mapping as JSON, by the same rule."""
    return {name: _field(name, value, now) for name, value in values.items()}


def attempts(seen: Mapping[str, LastAttempt], now: float) -> dict[str, Any]:
    """By the same rule; a time that is past is negative."""
    return {name: plain(one, now) for name, one in seen.items()}


def _field(name: str, value: Any, now: float) -> Any:
    if isinstance(value, float) and name.endswith(("_at", "_since", "since")):
        return round(value - now, 1)
    if isinstance(value, tuple) and name.endswith("_at"):
        return [round(each - now, 1) for each in value]
    return plain(value, now)
