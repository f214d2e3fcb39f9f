"""What a drain asks of EndpointSlices: on the embedded API server and on a real one, where the stand-in of
Linkerd's writer keeps them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from agent.core.reasons import Reason
from agent.ports import Trouble
from agent.sandbox.api.slices import MANAGED_BY, WRITER, SliceWriter
from tests.contract import status_worlds
from tests.contract.status_worlds import NAME, EmbeddedWorld, HttpWorld, Json, condition, manifest
from tests.loops.running import running

WITHIN = 30  # seconds


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
async def http(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HttpWorld]:
    async with status_worlds.made(request, tmp_path) as world:
        assert isinstance(world, HttpWorld)
        await world.create()
        yield world


@contextlib.asynccontextmanager
async def writer(world: HttpWorld) -> AsyncIterator[SliceWriter]:
    headers = {"Authorization": f"Bearer {world.admin_token}"}
    connector = aiohttp.TCPConnector(ssl=world.tls())
    async with aiohttp.ClientSession(world.url, headers=headers, connector=connector) as session:
        found = SliceWriter(session, world.namespace, "shop", {"app": "shop"})
        async with running(found.run()):
            yield found


async def until_listed(world: HttpWorld, wanted: bool) -> None:
    async with asyncio.timeout(WITHIN):
        while await world.api.listed() is not wanted:
            await asyncio.sleep(0.05)


async def tell(world: HttpWorld, status: str) -> None:
    reason = "HostReady" if status == "True" else "Draining"
    await world.api.patch_conditions(await world.api.read(), [condition(status, reason)])


async def test_a_host_is_listed_while_it_is_ready(http: HttpWorld) -> None:
    assert await http.api.listed() is False, "there is no slice"
    async with writer(http):
        await tell(http, "True")
        await until_listed(http, True)
        await tell(http, "False")
        await until_listed(http, False)
        slices = (await http.must("GET", f"{slices_of(http)}/linkerd-external-shop-ipv4"))["endpoints"]
        assert [e["conditions"]["ready"] for e in slices] == [False], "it stays there as not ready"


async def test_the_writer_takes_its_time(http: HttpWorld) -> None:
    async with writer(http) as slow:
        await tell(http, "True")
        await until_listed(http, True)
        slow.delay = 3600
        await tell(http, "False")
        assert await http.api.listed() is True


def slices_of(world: HttpWorld) -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{world.namespace}/endpointslices"


def a_slice(world: HttpWorld, name: str, target: Json, **other: object) -> Json:
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": world.namespace, "labels": {MANAGED_BY: WRITER}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.7"], "targetRef": target}],
        "ports": [],
    }
    return {**body, **other}


async def test_only_this_host_counts_and_only_linkerds_slices(http: HttpWorld) -> None:
    """A Pod of the same name, another host, another namespace, another writer's slice."""
    mine = {"kind": "ExternalWorkload", "namespace": http.namespace, "name": NAME}
    others = [mine | {"kind": "Pod"}, mine | {"name": "vm-2"}, mine | {"namespace": "elsewhere"}]
    for number, target in enumerate(others):
        await http.must("POST", slices_of(http), a_slice(http, f"other-{number}", target))
    bare = {"name": "by-another", "namespace": http.namespace, "labels": {MANAGED_BY: "somebody"}}
    await http.must("POST", slices_of(http), a_slice(http, "by-another", mine, metadata=bare))
    assert await http.api.listed() is False
    await http.must("POST", slices_of(http), a_slice(http, "mine", mine))  # a missing `ready` means ready
    assert await http.api.listed() is True


async def test_two_hosts_of_one_service_are_told_apart(http: HttpWorld) -> None:
    await http.must("POST", http.workloads, manifest(http.namespace, "vm-2", workloadIPs=[{"ip": "192.0.2.8"}]))
    async with writer(http):
        await tell(http, "True")
        await until_listed(http, True)
        change = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "HostReady"}]}}
        await http.must("PATCH", f"{http.workloads}/vm-2/status", change)
        await tell(http, "False")
        await until_listed(http, False)


async def test_without_the_right_it_is_forbidden(http: HttpWorld) -> None:
    await take_the_right_away(http)
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                await http.api.listed()
            except Trouble as trouble:
                assert trouble.reason is Reason.API_FORBIDDEN
                return
            await asyncio.sleep(0.05)


async def take_the_right_away(world: HttpWorld) -> None:
    if isinstance(world, EmbeddedWorld):
        world.server.allow = lambda ask: ask.resource != "endpointslices" or ask.user != "host"
        return
    role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.namespace}/roles/fairlead-host-{NAME}"
    rules = [
        rule for rule in (await world.must("GET", role))["rules"] if "endpointslices" not in rule["resources"]
    ]
    await world.must("PATCH", role, {"rules": rules})
