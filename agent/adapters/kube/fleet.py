"""FleetApi, GroupApi and AddressApi over HTTPS: what the watcher reads and writes.

Lists are consistent readings (without a resourceVersion), page by page, and only what the watcher counts is kept.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
from typing import TypeVar

from agent.adapters.kube import calls, fleet_values, json_values
from agent.adapters.kube.access import Credential
from agent.adapters.kube.json_values import Json
from agent.adapters.kube.unchanged import Unchanged
from agent.core import addresses
from agent.core.addresses import Key
from agent.core.facts import Condition, Workload
from agent.core.reasons import Reason
from agent.core.watch.fleet import ALL, LeaseSeen, Name, WorkloadSeen
from agent.core.watch.groups import GroupSeen, GroupStatus
from agent.core.watch.retirement import Ledger
from agent.ports import Event, Trouble
from agent.watcher_ports import Found

WORKLOADS = "/apis/workload.linkerd.io/v1beta1"
LEASES = "/apis/coordination.k8s.io/v1"
# Every node has a Lease of its own there.
NOT_OF_NODES = "metadata.namespace!=kube-node-lease"
PAGE = 1000  # 1.3 MB of Leases
PODS_PAGE = 100  # some have 20 KB
T = TypeVar("T")


class FleetApi:
    """`timeout`: seconds for one call. `instance`: of this program, in its Events."""

    def __init__(self, credential: Credential, *, instance: str, timeout: float = 8.0) -> None:
        self._caller = calls.Caller(credential, "fairlead-watcher", timeout, timeout, rights="watcher.yaml")
        self._instance = instance
        self._leases = Unchanged(fleet_values.lease_seen)
        self._workloads = Unchanged(fleet_values.workload_seen)
        self._groups = Unchanged(fleet_values.group_seen)

    @property
    def caller(self) -> calls.Caller:
        return self._caller

    async def close(self) -> None:
        await self._caller.close()

    async def leases(self, scope: str) -> Mapping[Name, LeaseSeen]:
        query = {"fieldSelector": NOT_OF_NODES} if scope == ALL else {}
        return await self._all(_collection(LEASES, scope, "leases"), query, self._leases)

    async def workloads(self, scope: str) -> Mapping[Name, WorkloadSeen]:
        path = _collection(WORKLOADS, scope, "externalworkloads")
        return await self._all(path, {}, self._workloads)

    async def lease(self, name: Name) -> LeaseSeen | None:
        body = await self._one(f"{_collection(LEASES, name[0], 'leases')}/{name[1]}", Reason.LEASE_MISSING)
        return None if body is None else fleet_values.lease_seen(body)

    async def workload(self, name: Name) -> Found | None:
        body = await self._one(_workload(name), Reason.WORKLOAD_MISSING)
        return None if body is None else _found(body)

    async def patch_conditions(self, name: Name, workload: Workload, conditions: Sequence[Condition]) -> Found:
        """The version is the guard: kube-apiserver ignores a uid that is sent to /status, but a recreated object
        never has the version of the old one."""
        guard = {"uid": workload.uid, "resourceVersion": workload.resource_version}
        body = {"metadata": guard, "status": {"conditions": [json_values.condition_json(c) for c in conditions]}}
        path = f"{_workload(name)}/status"
        return _found(await self._caller.call("PATCH", path, Reason.WORKLOAD_MISSING, body))

    async def post_event(self, name: Name, event: Event) -> None:
        namespace, workload = name
        body = json_values.event_json(event, namespace, workload, by="watcher", instance=self._instance)
        path = _collection("/apis/events.k8s.io/v1", namespace, "events")
        await self._caller.call("POST", path, Reason.API_REFUSED, body)

    async def groups(self, scope: str) -> Mapping[Name, GroupSeen]:
        try:
            return await self._all(_collection(json_values.GROUPS, scope, "workloadgroups"), {}, self._groups)
        except Trouble as trouble:
            if trouble.reason in (Reason.WORKLOAD_MISSING, Reason.WORKLOAD_KIND_ABSENT):
                return {}
            raise

    async def write_group_status(self, name: Name, before: GroupSeen, status: GroupStatus) -> None:
        await self._write_status(name, before, fleet_values.group_status_json(status))

    async def write_ledger(self, name: Name, before: GroupSeen, ledger: Ledger) -> None:
        await self._write_status(name, before, {"retirement": fleet_values.ledger_json(ledger)})

    async def _write_status(self, name: Name, before: GroupSeen, status: Json) -> None:
        body = {"metadata": {"resourceVersion": before.version}, "status": status}
        path = f"{_collection(json_values.GROUPS, name[0], 'workloadgroups')}/{name[1]}/status"
        await self._caller.call("PATCH", path, Reason.API_CONFLICT, body)  # it is gone

    async def pods(self, scope: str, of: Container[Key]) -> Mapping[Key, Name]:
        path = _collection("/api/v1", scope, "pods")
        return await self._addresses(path, "Pod {}".format, fleet_values.pod_addresses, of)

    async def nodes(self, of: Container[Key]) -> Mapping[Key, Name]:
        return await self._addresses("/api/v1/nodes", lambda _: "Node", fleet_values.node_addresses, of)

    async def _addresses(
        self, path: str, kind: Callable[[str], str], read: Callable[[Json], list[str]], of: Container[Key]
    ) -> Mapping[Key, Name]:
        """Only those that are asked for are kept: a cluster may have many more pods than the fleet has hosts."""
        found: dict[Key, Name] = {}
        async for page in self._pages(path, {}, PODS_PAGE):
            for body in json_values.parts(page, "items"):
                namespace, name = json_values.name(body)
                mine = (addresses.comparable(one) for one in read(body))
                found |= {key: (kind(namespace), name) for key in mine if key in of}
            await asyncio.sleep(0)
        return found

    async def _one(self, path: str, missing: Reason) -> Json | None:
        try:
            return await self._caller.call("GET", path, missing)
        except Trouble as trouble:
            if trouble.reason is missing:
                return None
            raise

    async def _all(self, path: str, query: Mapping[str, str], kept: Unchanged[T]) -> dict[Name, T]:
        found: dict[Name, tuple[str, T]] = {}
        async for page in self._pages(path, query):
            found |= kept.of(path, json_values.parts(page, "items"))
            await asyncio.sleep(0)  # a large fleet must not hold up renewals of the watcher's own lease
        return kept.complete(path, found)

    async def _pages(self, path: str, query: Mapping[str, str], size: int = 0) -> AsyncIterator[Json]:
        """Objects may have 1.5 MiB each: pages that are too long are asked for again, shorter."""
        size, more = size or PAGE, dict[str, str]()
        while True:
            asked = {**query, **more, "limit": str(size)}
            try:
                page = await self._caller.call("GET", path, Reason.WORKLOAD_MISSING, query=asked)
            except calls.TooLong:
                if size == 1:
                    raise
                size = max(1, size // 4)
                continue
            yield page
            if not (token := json_values.text(json_values.part(page, "metadata"), "continue")):
                return
            more = {"continue": token}


def _collection(group: str, scope: str, resource: str) -> str:
    return f"{group}/{resource}" if scope == ALL else f"{group}/namespaces/{scope}/{resource}"


def _workload(name: Name) -> str:
    return f"{_collection(WORKLOADS, name[0], 'externalworkloads')}/{name[1]}"


def _found(body: Json) -> Found:
    return Found(json_values.workload(body), fleet_values.workload_seen(body))
