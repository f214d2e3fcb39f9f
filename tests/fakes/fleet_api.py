"""FleetApi, GroupApi and LeaderApi in memory, for the watcher's loops in virtual time."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Container, Mapping, Sequence

from agent.core import foreign_edits
from agent.core.addresses import Key
from agent.core.facts import Condition, Workload
from agent.core.reasons import Reason
from agent.core.watch.fleet import ALL, UNIQUE, LeaseSeen, Name, WorkloadSeen
from agent.core.watch.groups import GroupSeen, GroupStatus
from agent.core.watch.retirement import Ledger
from agent.ports import Event, Trouble
from agent.watcher_ports import Found, Leadership


class MemoryFleetApi:
    """`members`: the group and its template, by host. `troubles`: by method's name, raised until taken out;
    `delay`: seconds of each call. `calls`: by method's name. `patches`, `events`: what was written."""

    def __init__(self) -> None:
        self.workloads_there: dict[Name, Workload] = {}
        self.zones: dict[Name, str] = {}
        self.members: dict[Name, tuple[str, str]] = {}
        self.groups_there: dict[Name, GroupSeen] = {}
        self.leases_there: dict[Name, LeaseSeen] = {}
        self.pods_there: dict[Key, Name] = {}
        self.nodes_there: dict[Key, str] = {}
        self.troubles: dict[str, Trouble] = {}
        self.calls: Counter[str] = Counter()
        self.delay = 0.0
        self.patches: list[tuple[float, Name]] = []
        self.events: list[tuple[Name, Event]] = []
        self._version = 100

    # what others do -----------------------------------------------------------------------------

    def create(self, name: Name, zone: str = "", *conditions: Condition) -> None:
        uid, version = f"uid-{self._next()}", str(self._version)
        self.workloads_there[name] = Workload(uid, version, "", "", (), (), conditions=conditions)
        self.zones[name] = zone

    def report(self, name: Name, *conditions: Condition) -> None:
        self._write(name, self.workloads_there[name], conditions)

    def renew(self, name: Name, duration: int = 40, renewer: str = "") -> None:
        uid = self.workloads_there[name].uid
        self.leases_there[name] = LeaseSeen(f"lease-{uid}", str(self._next()), duration, True, uid, renewer)

    # the port -----------------------------------------------------------------------------------

    async def leases(self, scope: str) -> Mapping[Name, LeaseSeen]:
        await self._enter("leases")
        return {name: lease for name, lease in self.leases_there.items() if scope in (ALL, name[0])}

    async def workloads(self, scope: str) -> Mapping[Name, WorkloadSeen]:
        await self._enter("workloads")
        return {name: self._found(name).seen for name in self.workloads_there if scope in (ALL, name[0])}

    async def lease(self, name: Name) -> LeaseSeen | None:
        await self._enter("lease")
        return self.leases_there.get(name)

    async def workload(self, name: Name) -> Found | None:
        await self._enter("workload")
        return self._found(name) if name in self.workloads_there else None

    async def patch_conditions(self, name: Name, workload: Workload, conditions: Sequence[Condition]) -> Found:
        await self._enter("patch_conditions")
        there = self.workloads_there.get(name)
        if there is None:
            raise Trouble(Reason.WORKLOAD_MISSING, "not found")
        if (there.uid, there.resource_version) != (workload.uid, workload.resource_version):
            raise Trouble(Reason.API_CONFLICT, "the object has been modified")
        self._write(name, there, conditions)
        self.patches.append((asyncio.get_running_loop().time(), name))
        return self._found(name)

    async def post_event(self, name: Name, event: Event) -> None:
        await self._enter("post_event")
        self.events.append((name, event))

    async def groups(self, scope: str) -> Mapping[Name, GroupSeen]:
        await self._enter("groups")
        return {name: group for name, group in self.groups_there.items() if scope in (ALL, name[0])}

    async def write_group_status(self, name: Name, before: GroupSeen, status: GroupStatus) -> None:
        await self._enter("write_group_status")
        self._write_group(name, before, dataclasses.replace(before, status=status))

    async def write_ledger(self, name: Name, before: GroupSeen, ledger: Ledger) -> None:
        await self._enter("write_ledger")
        self._write_group(name, before, dataclasses.replace(before, ledger=ledger))

    async def pods(self, scope: str, of: Container[Key]) -> Mapping[Key, Name]:
        await self._enter("pods")
        found = {key: name for key, name in self.pods_there.items() if scope in (ALL, name[0])}
        return {key: (f"Pod {namespace}", name) for key, (namespace, name) in found.items() if key in of}

    async def nodes(self, of: Container[Key]) -> Mapping[Key, Name]:
        await self._enter("nodes")
        return {key: ("Node", name) for key, name in self.nodes_there.items() if key in of}

    # within -------------------------------------------------------------------------------------

    async def _enter(self, method: str) -> None:
        self.calls[method] += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        if method in self.troubles:
            raise self.troubles[method]

    def _found(self, name: Name) -> Found:
        workload = self.workloads_there[name]
        ready = any(one.type == "Ready" and one.status == "True" for one in workload.conditions)
        marked = foreign_edits.unreachable(workload)
        seen = WorkloadSeen(
            workload.uid,
            self.zones[name],
            ready,
            marked,
            workload.addresses,
            workload.ports,
            workload.identity,
            group=self.members.get(name, ("", ""))[0],
            unique=next((one for one in workload.conditions if one.type == UNIQUE), None),
            template=self.members.get(name, ("", ""))[1],
            reason=next((one.reason for one in workload.conditions if one.type == "Ready"), ""),
            retiring=workload.retiring,
        )
        return Found(workload, seen)

    def _write(self, name: Name, there: Workload, conditions: Sequence[Condition]) -> None:
        fresh = dataclasses.replace(there, resource_version=str(self._next()), conditions=tuple(conditions))
        self.workloads_there[name] = fresh

    def _write_group(self, name: Name, before: GroupSeen, after: GroupSeen) -> None:
        if self.groups_there.get(name) != before:
            raise Trouble(Reason.API_CONFLICT, "the object has been modified")
        self.groups_there[name] = dataclasses.replace(after, version=str(self._next()))

    def _next(self) -> int:
        self._version += 1
        return self._version


class MemoryLeaderApi:
    """`trouble`: raised by every call until taken out. `delay`, `calls`: as MemoryFleetApi has them."""

    def __init__(self) -> None:
        self.delay, self.calls = 0.0, Counter[str]()
        self.trouble: Trouble | None = None
        self.lease: Leadership | None = None
        self.annotations: Mapping[str, str] = {}
        self.events: list[Event] = []
        self._version = 0

    async def read(self) -> Leadership | None:
        await self._enter("read")
        return self.lease

    async def write(
        self, before: Leadership | None, holder: str, duration: int, annotations: Mapping[str, str]
    ) -> Leadership:
        await self._enter("write")
        if before != self.lease:
            raise Trouble(Reason.API_CONFLICT, "the object has been modified")
        self._version += 1
        last = before or Leadership(holder, "", 0)
        more = 1 if holder not in ("", last.holder) else 0
        self.lease = Leadership(holder, str(self._version), last.transitions + more)
        self.annotations = {**self.annotations, **annotations}
        return self.lease

    async def post_event(self, event: Event) -> None:
        await self._enter("post_event")
        self.events.append(event)

    async def _enter(self, method: str) -> None:
        self.calls[method] += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.trouble is not None:
            raise self.trouble
