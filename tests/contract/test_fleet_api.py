"""One suite for FleetApi and LeaderApi: in memory, on the embedded API server, and on a real kube-apiserver."""

import dataclasses
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.kube import TokenFile, fleet, json_values
from agent.adapters.kube.fleet import FleetApi
from agent.adapters.kube.json_values import ZONE
from agent.adapters.kube.leader import LeaderApi
from agent.core.facts import Condition
from agent.core.reasons import Reason
from agent.core.watch.fleet import ALL, Name
from agent.host import clocks
from agent.ports import Event, Trouble
from agent.watcher_ports import FleetApi as FleetPort
from agent.watcher_ports import LeaderApi as LeaderPort
from tests.contract import status_worlds
from tests.contract.status_worlds import HttpWorld, manifest
from tests.fakes.fleet_api import MemoryFleetApi, MemoryLeaderApi
from tests.lab.realparts import ApiServer
from tests.watcher.watching import Fleet

REAL = pytest.param("real", marks=pytest.mark.real)
READY = Condition("Ready", "True", "HostReady", "all is well", "2026-01-02T03:04:05Z")
GONE = Condition("Ready", "Unknown", "HostUnreachable", "silent", "2026-01-02T03:04:06Z")


class Memory:
    def __init__(self) -> None:
        self.namespace, self.api = "hosts", MemoryFleetApi()
        self.leader: LeaderPort = MemoryLeaderApi()

    async def enrol(self, name: str, zone: str = "") -> None:
        self.api.create((self.namespace, name), zone, READY)
        await self.renew(name)

    async def renew(self, name: str) -> None:
        self.api.renew((self.namespace, name))


class Http:
    """An administrator's calls beside the watcher's."""

    def __init__(self, http: HttpWorld) -> None:
        self._http, self.namespace = http, http.namespace
        http.trust(http.admin_token)
        self.api = FleetApi(TokenFile(http.url, str(http.ca_file), str(http.token_file)), instance="w")
        name = f"watcher-{secrets.token_hex(4)}"
        self.leader: LeaderPort = LeaderApi(self.api.caller, http.namespace, name, "w", clocks.exact_wall)

    async def enrol(self, name: str, zone: str = "") -> None:
        body = manifest(self.namespace, name)
        body["metadata"]["labels"] = {ZONE: zone} if zone else {}
        uid = (await self._http.must("POST", self._http.workloads, body))["metadata"]["uid"]
        owner = {"apiVersion": body["apiVersion"], "kind": body["kind"], "name": name, "uid": uid}
        lease = status_worlds.lease(self.namespace, {})
        lease["metadata"] = {"name": name, "ownerReferences": [owner]}
        await self._http.must("POST", self._http.leases, lease)
        await self.renew(name)
        ready = {"status": {"conditions": [json_values.condition_json(READY)]}}
        await self._http.must("PATCH", f"{self._http.workloads}/{name}/status", ready)

    async def node(self) -> None:
        """Also makes the namespace of nodes' Leases, where the server has none."""
        path = self._http.leases.replace(f"/{self.namespace}/", "/kube-node-lease/")
        await self._http.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "kube-node-lease"}})
        body = status_worlds.lease("kube-node-lease", {})
        body["metadata"]["name"] = "node-1"
        answer = await self._http.ask("POST", path, body)
        assert answer.status in (201, 409)

    async def renew(self, name: str) -> None:
        spec = {"holderIdentity": name, "renewTime": clocks.exact_wall(), "leaseDurationSeconds": 40}
        await self._http.must("PATCH", f"{self._http.leases}/{name}", {"spec": spec})


World = Memory | Http


@pytest.fixture(params=["memory", "embedded", REAL])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        yield Memory()
        return
    async with status_worlds.made(request, tmp_path) as http:
        assert isinstance(http, HttpWorld)
        made = Http(http)
        yield made
        await made.api.close()


def port(world: World) -> FleetPort:
    return world.api


async def test_lists_what_single_readings_show(world: World) -> None:
    await world.enrol("vm-1", "a")
    await world.enrol("vm-2")
    api, one = port(world), (world.namespace, "vm-1")
    for scope in (world.namespace, ALL):
        workloads, leases = await api.workloads(scope), await api.leases(scope)
        assert {name[1] for name in workloads if name[0] == world.namespace} == {"vm-1", "vm-2"}
        found = await api.workload(one)
        assert found is not None and workloads[one] == found.seen and leases[one] == await api.lease(one)
        assert (found.seen.zone, found.seen.ready, found.seen.marked) == ("a", True, False)
        lease = leases[one]
        assert (lease.duration, lease.renewed, lease.owner) == (40, True, found.seen.uid)
    assert await api.workload((world.namespace, "none")) is None
    assert await api.lease((world.namespace, "none")) is None
    assert await api.leases("nowhere") == {} == await api.workloads("nowhere")


async def test_leases_of_nodes_are_left_out(world: World) -> None:
    """Every node renews one; they are many."""
    await world.enrol("vm-1")
    if isinstance(world, Http):
        await world.node()
        assert "kube-node-lease" not in {name[0] for name in await port(world).leases(ALL)}
        assert len(await port(world).leases("kube-node-lease")) == 1
    assert (world.namespace, "vm-1") in await port(world).leases(ALL)


async def test_a_renewal_is_another_version_of_the_same_lease(world: World) -> None:
    await world.enrol("vm-1")
    name = (world.namespace, "vm-1")
    before = (await port(world).leases(world.namespace))[name]
    assert (await port(world).leases(world.namespace))[name] == before
    await world.renew("vm-1")
    after = (await port(world).leases(world.namespace))[name]
    assert after.version != before.version and dataclasses.replace(after, version=before.version) == before


async def test_a_list_after_a_change_shows_it(world: World) -> None:
    """What did not change is not read again."""
    await world.enrol("vm-1")
    await world.enrol("vm-2")
    api, one, other = port(world), (world.namespace, "vm-1"), (world.namespace, "vm-2")
    before, found = await api.workloads(world.namespace), await api.workload(one)
    assert found is not None
    answer = await api.patch_conditions(one, found.workload, (GONE,))
    after = await api.workloads(world.namespace)
    assert (after[one], after[other]) == (answer.seen, before[other]) and after[one] != before[one]


async def test_a_write_needs_the_object_that_was_read(world: World) -> None:
    await world.enrol("vm-1")
    api, name = port(world), (world.namespace, "vm-1")
    found = await api.workload(name)
    assert found is not None
    answer = await api.patch_conditions(name, found.workload, (GONE,))
    assert (answer.seen.ready, answer.seen.marked) == (False, True)
    with pytest.raises(Trouble) as caught:
        await api.patch_conditions(name, found.workload, (READY,))
    assert caught.value.reason is Reason.API_CONFLICT
    gone: Name = (world.namespace, "gone")
    with pytest.raises(Trouble) as caught:
        await api.patch_conditions(gone, found.workload, (READY,))
    assert caught.value.reason is Reason.WORKLOAD_MISSING


async def test_events_are_taken(world: World) -> None:
    await world.enrol("vm-1")
    found = await port(world).workload((world.namespace, "vm-1"))
    assert found is not None
    note = Event("vm-1.1", found.seen.uid, clocks.exact_wall(), "Watch", "HostUnreachable", "silent", True)
    await port(world).post_event((world.namespace, "vm-1"), note)
    await world.leader.write(None, "a", 15, {})
    await world.leader.post_event(dataclasses.replace(note, name="2", uid=""))


async def test_the_watchers_own_lease_is_written_as_it_was_read(world: World) -> None:
    leader = world.leader
    assert await leader.read() is None
    first = await leader.write(None, "a", 15, {"x": "1"})
    assert await leader.read() == first and first.holder == "a"
    second = await leader.write(first, "b", 15, {})
    assert second.transitions == first.transitions + 1
    for before in (None, first):
        with pytest.raises(Trouble) as caught:
            await leader.write(before, "a", 15, {})
        assert caught.value.reason is Reason.API_CONFLICT
    released = await leader.write(second, "", 1, {})
    assert (released.holder, released.transitions) == ("", second.transitions)


@pytest.mark.real
async def test_pages_that_are_too_long_are_asked_for_again_shorter(
    real_apiserver: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone may write objects of a megabyte; the view must not become stale by it."""
    (tmp_path / "token").write_text(real_apiserver.admin_token)
    hosts = Fleet(real_apiserver)
    for number in range(6):
        hosts.enrol(f"vm-{number}")
        large = {"metadata": {"annotations": {"filler": "x" * 200_000}}}
        hosts.patch(f"{hosts.leases}/vm-{number}", large)
    monkeypatch.setattr("agent.adapters.kube.calls.MOST_BYTES", 500_000)
    monkeypatch.setattr(fleet, "PAGE", 100)
    api = FleetApi(
        TokenFile(real_apiserver.url, str(real_apiserver.ca_file), str(tmp_path / "token")), instance="w"
    )
    try:
        assert len(await api.leases(hosts.namespace)) == 6
    finally:
        await api.close()
