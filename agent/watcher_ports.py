"""The protocols that the watcher needs beside those of `ports`: of a whole fleet, which no host has."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.core.addresses import Key
from agent.core.facts import Condition, Workload
from agent.core.watch.fleet import LeaseSeen, Name, WorkloadSeen
from agent.core.watch.groups import GroupSeen, GroupStatus
from agent.core.watch.retirement import Ledger
from agent.ports import Event


@dataclass(frozen=True)
class Found:
    """One ExternalWorkload, whole and as the watcher counts it."""

    workload: Workload
    seen: WorkloadSeen


class FleetApi(Protocol):
    """The Leases and ExternalWorkloads of many hosts, as the watcher sees them. Every method raises Trouble
    (API_*, WORKLOAD_KIND_ABSENT) and is bounded in time. `scope`: a namespace, or ALL."""

    async def leases(self, scope: str) -> Mapping[Name, LeaseSeen]:
        """All of them, as of a time after the call began."""
        ...

    async def workloads(self, scope: str) -> Mapping[Name, WorkloadSeen]: ...

    async def lease(self, name: Name) -> LeaseSeen | None: ...

    async def workload(self, name: Name) -> Found | None: ...

    async def patch_conditions(self, name: Name, workload: Workload, conditions: Sequence[Condition]) -> Found:
        """As StatusApi has it. A workload without /status is WORKLOAD_MISSING."""
        ...

    async def post_event(self, name: Name, event: Event) -> None:
        """An Event about that ExternalWorkload."""
        ...


class GroupApi(Protocol):
    """WorkloadGroups, as FleetApi has hosts."""

    async def groups(self, scope: str) -> Mapping[Name, GroupSeen]:
        """Empty too where the cluster has no such kind."""
        ...

    async def write_group_status(self, name: Name, before: GroupSeen, status: GroupStatus) -> None:
        """Raises API_CONFLICT if the group is not `before` any more."""
        ...

    async def write_ledger(self, name: Name, before: GroupSeen, ledger: Ledger) -> None:
        """As write_group_status. Neither changes what the other one writes."""
        ...


class AddressApi(Protocol):
    """Pods and nodes with one of these addresses, by it: "Pod NAMESPACE" or "Node", and a name. As FleetApi."""

    async def pods(self, scope: str, of: Container[Key]) -> Mapping[Key, Name]: ...
    async def nodes(self, of: Container[Key]) -> Mapping[Key, Name]: ...


@dataclass(frozen=True)
class Leadership:
    """The watcher's own Lease as read. `version` tells each write from the next."""

    holder: str
    version: str
    transitions: int = 0


class LeaderApi(Protocol):
    """The watcher's own Lease. Raises Trouble (API_*)."""

    async def read(self) -> Leadership | None: ...

    async def write(
        self, before: Leadership | None, holder: str, duration: int, annotations: Mapping[str, str]
    ) -> Leadership:
        """Raises API_CONFLICT if it is not `before` any more."""
        ...

    async def post_event(self, event: Event) -> None:
        """An Event about the watcher's own Lease."""
        ...
