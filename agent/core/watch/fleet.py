"""What the watcher has observed of a fleet: when each Lease last changed, on the watcher's own clock.

No time that a host or the API server wrote is ever read.
"""

import enum
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from agent.core.facts import Condition
from agent.core.watch.limits import Limits
from agent.core.watch.renewers import ALONE, Renewers

Name: TypeAlias = tuple[str, str]  # namespace and name
GROUP = "workloadGroup"  # the label of the members of a WorkloadGroup
UNIQUE = "fairlead.dev/Unique"  # the watcher's own condition
ALL = ""  # the scope of every namespace; other scopes are namespaces


@dataclass(frozen=True, slots=True)
class LeaseSeen:
    """`owner`: the uid of the ExternalWorkload that owns it, "" if none does. `renewed`: it was ever renewed.
    `renewer`: its holder and the boot of the machine that renewed it last; "": not known."""

    uid: str
    version: str
    duration: int
    renewed: bool
    owner: str = ""
    renewer: str = ""


@dataclass(frozen=True, slots=True)
class WorkloadSeen:
    """`ready`: it is in load balancing. `marked`: the watcher has taken it out. `unique`: the watcher's own
    condition, if there is one. `template`: the digest of the WorkloadGroup's template that made it. `reason`: that
    of its Ready. `retiring`: it is being retired."""

    uid: str
    zone: str = ""
    ready: bool = False
    marked: bool = False
    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    identity: str = ""
    group: str = ""
    unique: Condition | None = None
    template: str = ""
    reason: str = ""
    retiring: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """`at`: when a change of the Lease was observed; None: none was, since this watcher first read it. `renewers`:
    those seen of it."""

    lease: LeaseSeen
    at: float | None = None
    renewers: Renewers = ALONE


@dataclass(frozen=True)
class Grace:
    """Before these times no silence counts, in all zones and in each: what failed is over, and the hosts get the
    time to renew again."""

    fleet: float = 0.0
    zones: Mapping[str, float] = field(default_factory=dict)

    def of(self, zone: str) -> float:
        return max(self.fleet, self.zones.get(zone, 0.0))

    @property
    def last(self) -> float:
        return max(self.fleet, *self.zones.values(), 0.0)


@dataclass(frozen=True)
class View:
    """One scope. `read_at`: when the last complete reading of Leases began. `grace_from`: no silence before it
    counts."""

    leases: Mapping[Name, Heard] = field(default_factory=dict)
    workloads: Mapping[Name, WorkloadSeen] = field(default_factory=dict)
    read_at: float | None = None
    grace_from: float = 0.0

    def stale(self, now: float, limits: Limits) -> bool:
        return self.read_at is None or now - self.read_at > limits.stale_after

    def with_leases(self, found: Mapping[Name, LeaseSeen], began: float, ended: float, limits: Limits) -> "View":
        """After a complete reading. After a gap every host gets its grace again: neither this watcher nor,
        perhaps, the hosts reached the API server in it."""
        gap = self.read_at is None or ended - self.read_at > limits.stale_after
        leases = {name: self._heard(name, lease, ended) for name, lease in found.items()}
        return replace(self, leases=leases, read_at=began, grace_from=ended if gap else self.grace_from)

    def with_lease(self, name: Name, found: LeaseSeen | None, at: float) -> "View":
        """After a reading of one Lease."""
        others = {key: value for key, value in self.leases.items() if key != name}
        heard = {} if found is None else {name: self._heard(name, found, at)}
        return replace(self, leases={**others, **heard})

    def with_workloads(self, found: Mapping[Name, WorkloadSeen]) -> "View":
        """After a complete reading."""
        return replace(self, workloads=found)

    def with_workload(self, name: Name, found: WorkloadSeen | None) -> "View":
        others = {key: value for key, value in self.workloads.items() if key != name}
        return replace(self, workloads=others if found is None else {**others, name: found})

    def _heard(self, name: Name, lease: LeaseSeen, now: float) -> Heard:
        before = self.leases.get(name)
        if before is None:
            return Heard(lease, None if self.read_at is None else now)
        if before.lease.uid != lease.uid:
            return Heard(lease, now)
        same = before.lease.version == lease.version
        return (
            before if same else Heard(lease, now, before.renewers.after(before.lease.renewer, lease.renewer, now))
        )


class Standing(enum.Enum):
    WELL = "well"
    LATE = "late"  # silent for more than half of its grace
    SILENT = "silent"  # for more than its grace
    PLANNED = "planned"  # its agent announced a stop, and has the time for it
    OUT = "out"  # silent, and not in load balancing by its own report
    UNJUDGED = "unjudged"  # without a Lease of its own that was ever renewed


@dataclass(frozen=True, slots=True)
class Host:
    """`due_at`: when it becomes silent unless it renews."""

    name: Name
    zone: str
    standing: Standing
    since: float = -math.inf
    due_at: float = -math.inf
    ready: bool = False


def hosts(view: View, grace: Grace, now: float, limits: Limits) -> Iterator[Host]:
    for name, workload in view.workloads.items():
        start = max(view.grace_from, grace.of(workload.zone))
        yield _host(name, workload, view.leases.get(name), start, now, limits)


def host(view: View, name: Name, grace: Grace, now: float, limits: Limits) -> Host | None:
    """None: it cannot be judged now."""
    workload = view.workloads.get(name)
    if workload is None or view.stale(now, limits):
        return None
    start = max(view.grace_from, grace.of(workload.zone))
    return _host(name, workload, view.leases.get(name), start, now, limits)


def _host(
    name: Name, workload: WorkloadSeen, heard: Heard | None, start: float, now: float, limits: Limits
) -> Host:
    if heard is None or not heard.lease.renewed or heard.lease.owner not in ("", workload.uid):
        return Host(name, workload.zone, Standing.UNJUDGED)
    grace = limits.grace(heard.lease.duration)
    if workload.marked and not workload.ready:  # a gap tells nothing new about it
        since = heard.at
    else:
        since = start if heard.at is None else max(heard.at, start)
    if since is None:
        return Host(name, workload.zone, Standing.SILENT, ready=workload.ready)
    standing = _standing(now - since, grace, planned=heard.lease.duration >= limits.planned_from)
    if standing is Standing.SILENT and not workload.ready and not workload.marked:
        standing = Standing.OUT
    return Host(name, workload.zone, standing, since, since + grace, workload.ready)


def _standing(silence: float, grace: float, *, planned: bool) -> Standing:
    if silence >= grace:
        return Standing.SILENT
    if planned:
        return Standing.PLANNED
    return Standing.LATE if silence >= grace / 2 else Standing.WELL
