"""The agent's metrics as values: families with their samples, made of facts and tallies.

Law: pure. Names are `fairlead_…` in base units, counters end with `_total`, and each label has a bounded set of
values, so that a host with five probes has at most MOST series. `DECLARED` is the table of docs/metrics.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agent.core import facts as f
from agent.core import snapshot
from agent.core.goals import Goals
from agent.core.health import Spec
from agent.core.late import dataclass
from agent.core.slots import Slot
from agent.core.tallies import Durations, Tallies

MOST: Final = 200  # series of a host with five probes
_PROBLEMS: Final = 20  # shown at once
_STATUSES: Final = ("True", "False", "Unknown")
_LEASE: Final = "Lease"


@dataclass(frozen=True)
class Declared:
    kind: str  # gauge, counter, summary
    help: str
    labels: tuple[str, ...] = ()


DECLARED: Final[Mapping[str, Declared]] = {
    "fairlead_build_info": Declared("gauge", "1; the versions of agent and proxy", ("version", "proxy_version")),
    "fairlead_condition": Declared(
        "gauge",
        "1 for the status that a condition has; Ready as it is published, the others as the agent judges them",
        ("condition", "status"),
    ),
    "fairlead_reason": Declared("gauge", "1; the reason for Ready as the agent wants it", ("reason",)),
    "fairlead_problem": Declared("gauge", "1 for each problem of the moment", ("reason", "severity")),
    "fairlead_phase": Declared("gauge", "1 for the phase of this host", ("phase",)),
    "fairlead_svid_expiry_timestamp_seconds": Declared("gauge", "when the SVID expires, since the epoch"),
    "fairlead_svid_lifetime_seconds": Declared("gauge", "how long the SVID is valid from its issue to its end"),
    "fairlead_svid_updates": Declared("counter", "SVIDs received by this process"),
    "fairlead_anchors_expiry_timestamp_seconds": Declared(
        "gauge", "when the trust anchor of this host's SVID expires, since the epoch"
    ),
    "fairlead_proxy_state": Declared("gauge", "1 for the state of the proxy", ("state",)),
    "fairlead_proxy_certificate_expiry_timestamp_seconds": Declared(
        "gauge", "when the proxy's own certificate expires, since the epoch"
    ),
    "fairlead_proxy_in_flight_connections": Declared("gauge", "inbound connections that are in use"),
    "fairlead_proxy_restarts": Declared("counter", "restarts of the proxy that this process has seen"),
    "fairlead_proxy_slot": Declared(
        "gauge", "with two slots: 1 for the one that new connections go to", ("slot",)
    ),
    "fairlead_standby_state": Declared(
        "gauge", "with two slots: 1 for the state of the second's proxy", ("state",)
    ),
    "fairlead_standby_in_flight_connections": Declared("gauge", "the second slot's connections that are in use"),
    "fairlead_redirect_level": Declared("gauge", "1 for the level of a direction", ("direction", "level")),
    "fairlead_redirect_drifts": Declared("counter", "changes of the live rules by others, as the kernel reported"),
    "fairlead_redirect_repairs": Declared("counter", "times that the redirect was set again after a drift"),
    "fairlead_probe_passing": Declared("gauge", "1 while the probe passes, 0 while it fails", ("probe",)),
    "fairlead_probe_attempts": Declared(
        "counter", "attempts of a probe, by its verdict after it", ("probe", "result")
    ),
    "fairlead_probe_duration_seconds": Declared("summary", "how long an attempt of a probe took", ("probe",)),
    "fairlead_status_patches": Declared("counter", "patches of the ExternalWorkload's status by this process"),
    "fairlead_lease_renewals": Declared("counter", "attempts to renew the Lease", ("result",)),
    "fairlead_lease_age_seconds": Declared("gauge", "since the Lease was last renewed"),
    "fairlead_lease_period_seconds": Declared("gauge", "from one renewal of the Lease to the next, as configured"),
    "fairlead_api_requests": Declared(
        "counter", "requests to the API server, by verb and code; none: no answer", ("verb", "code")
    ),
    "fairlead_event_loop_lag_seconds": Declared(
        "summary", "how late the event loop woke up, looked at every 10 s"
    ),
    "fairlead_event_loop_lag_max_seconds": Declared("gauge", "the longest of them since the start"),
}


@dataclass(frozen=True)
class Sample:
    """`suffix`: after the family's name."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


@dataclass(frozen=True)
class Family:
    name: str
    declared: Declared
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Seen:
    """`now`: on the loop's clock; `wall`: the same moment since the epoch. `period`: of the Lease."""

    spec: Spec
    phase: f.Maybe[f.Phase]
    facts: f.Facts
    goals: Goals
    tallies: Tallies
    now: float
    wall: float
    version: str = ""
    proxy_version: str = ""
    period: float = 10.0


def families(seen: Seen) -> list[Family]:
    """Those that have a value now."""
    found: dict[str, list[Sample]] = {}
    for name, sample in _samples(seen):
        found.setdefault(name, []).append(sample)
    return [Family(name, DECLARED[name], tuple(found[name])) for name in DECLARED if name in found]


def _samples(seen: Seen) -> Iterator[tuple[str, Sample]]:
    yield _one("fairlead_build_info", 1, version=seen.version, proxy_version=seen.proxy_version)
    yield from _standing(seen)
    yield from _identity(seen)
    yield from _proxy(seen)
    yield from _slots(seen)
    yield from _redirect(seen)
    yield from _probes(seen)
    yield from _cluster(seen)
    yield from _loop(seen.tallies.lag)


def _one(name: str, value: float, suffix: str = "", **labels: str) -> tuple[str, Sample]:
    return name, Sample(labels, float(value), suffix)


def _standing(seen: Seen) -> Iterator[tuple[str, Sample]]:
    judged = snapshot.judged(seen.spec, seen.phase, seen.facts, seen.now)
    for condition in ({"type": "Ready", **snapshot.published(seen.facts)}, *judged["conditions"]):
        for status in _STATUSES:
            labels = {"condition": condition["type"], "status": status}
            yield _one("fairlead_condition", condition["status"] == status, **labels)
    yield _one("fairlead_reason", 1, reason=seen.goals.reason.value)
    for problem in judged["problems"][:_PROBLEMS]:
        yield _one("fairlead_problem", 1, reason=problem["reason"], severity=problem["severity"])
    for kind in f.PhaseKind:
        yield _one("fairlead_phase", snapshot.phase_name(seen.phase) == kind.value, phase=kind.value)


def _identity(seen: Seen) -> Iterator[tuple[str, Sample]]:
    fact, anchors = seen.facts.identity, seen.facts.anchors
    if fact is not f.UNKNOWN:
        yield _one("fairlead_svid_updates", fact.updates)
        if fact.svid is not None:
            yield _one("fairlead_svid_expiry_timestamp_seconds", _epoch(seen, fact.expires_at))
            yield _one("fairlead_svid_lifetime_seconds", fact.svid.lifetime)
    if anchors is not f.UNKNOWN and anchors.expires_at is not None:
        yield _one("fairlead_anchors_expiry_timestamp_seconds", _epoch(seen, anchors.expires_at))


def _epoch(seen: Seen, at: float) -> float:
    return seen.wall + at - seen.now


def _proxy(seen: Seen) -> Iterator[tuple[str, Sample]]:
    fact = seen.facts.proxy
    for state in f.ProxyState:
        here = fact is not f.UNKNOWN and fact.state is state
        yield _one("fairlead_proxy_state", here, state=state.value)
    if fact is f.UNKNOWN:
        return
    yield _one("fairlead_proxy_restarts", fact.restarts)
    if fact.in_flight is not None:
        yield _one("fairlead_proxy_in_flight_connections", fact.in_flight)
    if fact.certificate_expires_at is not None:
        expires = _epoch(seen, fact.certificate_expires_at)
        yield _one("fairlead_proxy_certificate_expiry_timestamp_seconds", expires)


def _slots(seen: Seen) -> Iterator[tuple[str, Sample]]:
    fact = seen.facts.standby
    if not seen.spec.slots or seen.facts.redirect is f.UNKNOWN:
        return
    for slot in Slot:
        yield _one("fairlead_proxy_slot", seen.facts.active is slot, slot=slot.value)
    for state in f.ProxyState:
        yield _one("fairlead_standby_state", fact is not f.UNKNOWN and fact.state is state, state=state.value)
    if fact is not f.UNKNOWN and fact.in_flight is not None:
        yield _one("fairlead_standby_in_flight_connections", fact.in_flight)


def _redirect(seen: Seen) -> Iterator[tuple[str, Sample]]:
    fact = seen.facts.redirect
    held = (f.UNKNOWN, f.UNKNOWN) if fact is f.UNKNOWN else (fact.inbound, fact.outbound)
    for direction, at in zip(("inbound", "outbound"), held, strict=True):
        for level in f.Level:
            yield _one("fairlead_redirect_level", at is level, direction=direction, level=level.value)
    yield _one("fairlead_redirect_drifts", seen.tallies.drifts)
    yield _one("fairlead_redirect_repairs", seen.tallies.repairs)


def _probes(seen: Seen) -> Iterator[tuple[str, Sample]]:
    """Of those that are configured: a reload may have removed one that was counted."""
    probes: Sequence[f.ProbeFact] = () if seen.facts.probes is f.UNKNOWN else seen.facts.probes.probes
    for probe in probes:
        if probe.passing is not f.UNKNOWN:
            yield _one("fairlead_probe_passing", probe.passing, probe=probe.name)
        for failed, result in ((False, "passing"), (True, "failing")):
            count = seen.tallies.attempts[f"probe {probe.name}", failed]
            yield _one("fairlead_probe_attempts", count, probe=probe.name, result=result)
        if (took := seen.tallies.probes.get(probe.name)) is not None:
            yield from _summary("fairlead_probe_duration_seconds", took, probe=probe.name)


def _summary(name: str, took: Durations, **labels: str) -> Iterator[tuple[str, Sample]]:
    yield _one(name, took.count, "_count", **labels)
    yield _one(name, took.sum, "_sum", **labels)


def _cluster(seen: Seen) -> Iterator[tuple[str, Sample]]:
    if seen.facts.workload is not f.UNKNOWN:
        yield _one("fairlead_status_patches", seen.facts.workload.writes)
    for failed, result in ((False, "ok"), (True, "failed")):
        yield _one("fairlead_lease_renewals", seen.tallies.attempts[_LEASE, failed], result=result)
    yield _one("fairlead_lease_period_seconds", seen.period)
    lease = seen.facts.lease
    if lease is not f.UNKNOWN and lease.renewed_at is not None:
        yield _one("fairlead_lease_age_seconds", seen.now - lease.renewed_at)
    for (verb, code), count in sorted(seen.tallies.requests.items()):
        yield _one("fairlead_api_requests", count, verb=verb, code=code)


def _loop(lag: Durations) -> Iterator[tuple[str, Sample]]:
    yield from _summary("fairlead_event_loop_lag_seconds", lag)
    yield _one("fairlead_event_loop_lag_max_seconds", lag.most)
