"""One suite for the port StatusApi: in memory, on the embedded API server, on a real kube-apiserver."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest

from agent.core.facts import Condition, Workload
from agent.core.reasons import Reason
from agent.ports import Lease, StatusApi, Trouble
from tests.contract import status_worlds
from tests.contract.status_worlds import NAME, TOO_OLD, WORKLOAD, HttpWorld, World, condition
from tests.fakes.status_api import MemoryStatusApi

REAL = pytest.param("real", marks=pytest.mark.real)
Watch = AsyncGenerator[Workload | None, None]


def opened(api: StatusApi, version: str) -> "aclosing[Watch]":
    return aclosing(cast(Watch, api.watch(version)))


async def first(api: StatusApi, version: str) -> Workload | None:
    async with opened(api, version) as watch:
        return await anext(watch)


@pytest.fixture(params=["memory", "embedded", REAL])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with status_worlds.made(request, tmp_path) as world:
        yield world


@pytest.fixture(params=["embedded", REAL])
async def http(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HttpWorld]:
    async with status_worlds.made(request, tmp_path) as world:
        assert isinstance(world, HttpWorld)
        yield world


@pytest.fixture(params=[REAL])
async def real(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HttpWorld]:
    async with status_worlds.made(request, tmp_path) as world:
        assert isinstance(world, HttpWorld)
        yield world


# reading ------------------------------------------------------------------------------------------


async def test_reads_what_was_declared(world: World) -> None:
    await world.create()
    seen = await world.api.read()
    assert seen.uid and seen.resource_version
    assert seen == dataclasses.replace(WORKLOAD, uid=seen.uid, resource_version=seen.resource_version)


async def test_unknown_workload_is_missing(world: World) -> None:
    with pytest.raises(Trouble) as raised:
        await world.api.read()
    assert raised.value.reason is Reason.WORKLOAD_MISSING


# writing conditions -------------------------------------------------------------------------------


async def test_a_patch_changes_the_conditions_and_nothing_else(world: World) -> None:
    await world.create()
    before = await world.api.read()
    written = await world.api.patch_conditions(before, [condition()])
    assert written.resource_version != before.resource_version
    assert written == await world.api.read()
    assert written == dataclasses.replace(
        before, conditions=(condition(),), resource_version=written.resource_version
    )


async def test_the_same_patch_twice_is_no_change(world: World) -> None:
    await world.create()
    written = await world.api.patch_conditions(await world.api.read(), [condition()])
    assert await world.api.patch_conditions(written, [condition()]) == written


async def test_a_stale_version_is_a_conflict(world: World) -> None:
    await world.create()
    before = await world.api.read()
    await world.edit()
    with pytest.raises(Trouble) as raised:
        await world.api.patch_conditions(before, [condition()])
    assert raised.value.reason is Reason.API_CONFLICT
    assert (await world.api.read()).conditions == ()


async def test_a_recreated_workload_is_a_conflict(world: World) -> None:
    await world.create()
    before = await world.api.read()
    await world.delete()
    await world.create()
    with pytest.raises(Trouble) as raised:
        await world.api.patch_conditions(before, [condition()])
    assert raised.value.reason is Reason.API_CONFLICT


async def test_a_deleted_workload_cannot_be_patched(world: World) -> None:
    await world.create()
    before = await world.api.read()
    await world.delete()
    with pytest.raises(Trouble) as raised:
        await world.api.patch_conditions(before, [condition()])
    assert raised.value.reason is Reason.WORKLOAD_MISSING


async def test_a_malformed_reason_is_refused(world: World) -> None:
    await world.create()
    before = await world.api.read()
    with pytest.raises(Trouble) as raised:
        await world.api.patch_conditions(before, [condition(reason="not a reason")])
    assert raised.value.reason is Reason.API_REFUSED
    assert await world.api.read() == before


async def test_conditions_of_others_survive_when_passed(world: World) -> None:
    await world.create()
    foreign = Condition("example.org/Audited", "Unknown", last_probe_time="2026-01-02T03:04:05Z")
    first = await world.api.patch_conditions(await world.api.read(), [foreign])
    second = await world.api.patch_conditions(first, [*first.conditions, condition()])
    assert second.conditions == (foreign, condition())


# watching -----------------------------------------------------------------------------------------


async def test_a_watch_sees_a_change_and_a_deletion_and_a_new_one(world: World) -> None:
    await world.create()
    seen = await world.api.read()
    async with opened(world.api, seen.resource_version) as watch:
        await world.edit()
        changed = await anext(watch)
        assert changed is not None and changed.ports == WORKLOAD.ports[:1]
        await world.delete()
        assert await anext(watch) is None
        await world.create()
        again = await anext(watch)
        assert again is not None and again.uid != seen.uid


async def test_a_watch_resumes_from_a_version(world: World) -> None:
    await world.create()
    seen = await world.api.read()
    patched = await world.api.patch_conditions(seen, [condition()])
    await world.edit()
    assert await first(world.api, seen.resource_version) == patched
    assert await first(world.api, patched.resource_version) == await world.api.read()


async def test_a_watch_without_a_version_begins_with_what_is_there(world: World) -> None:
    await world.create()
    seen = await world.api.read()
    async with opened(world.api, "") as watch:
        assert await anext(watch) == seen
        await world.edit()
        changed = await anext(watch)
        assert changed is not None and changed.ports == WORKLOAD.ports[:1]


async def test_a_forgotten_version_ends_quietly(world: World) -> None:
    await world.create()
    assert [seen async for seen in world.api.watch(TOO_OLD)] == []


# the lease ----------------------------------------------------------------------------------------

RENEWAL = Lease("vm-1", "2026-01-02T03:04:05.678901Z", 40, {"fairlead.dev/boot-id": "b"})


async def test_a_missing_lease_is_neither_read_nor_made(world: World) -> None:
    for call in (world.api.read_lease, lambda: world.api.renew_lease(RENEWAL), world.api.read_lease):
        with pytest.raises(Trouble) as raised:
            await call()
        assert raised.value.reason is Reason.LEASE_MISSING


async def test_a_fresh_lease_is_empty(world: World) -> None:
    await world.create_lease({"example.org/note": "kept"})
    assert await world.api.read_lease() == Lease(annotations={"example.org/note": "kept"})


async def test_a_renewal_keeps_the_annotations_of_others(world: World) -> None:
    await world.create_lease({"example.org/note": "kept"})
    renewed = await world.api.renew_lease(RENEWAL)
    both = {**RENEWAL.annotations, "example.org/note": "kept"}
    assert renewed == await world.api.read_lease() == dataclasses.replace(RENEWAL, annotations=both)
    again = dataclasses.replace(RENEWAL, duration=600, annotations={})
    assert await world.api.renew_lease(again) == dataclasses.replace(again, annotations=both)


async def test_a_renewal_of_what_was_read_before_another_renewal_is_refused(world: World) -> None:
    await world.create_lease({})
    before = await world.api.read_lease()
    current = await world.api.renew_lease(dataclasses.replace(RENEWAL, version=before.version))
    assert current.version not in ("", before.version)
    with pytest.raises(Trouble) as raised:
        await world.api.renew_lease(dataclasses.replace(RENEWAL, duration=41, version=before.version))
    assert raised.value.reason is Reason.API_CONFLICT
    assert await world.api.read_lease() == current
    await world.api.renew_lease(dataclasses.replace(RENEWAL, duration=42, version=current.version))


# over HTTP ----------------------------------------------------------------------------------------


async def test_spec_and_labels_are_untouched_by_a_patch(http: HttpWorld) -> None:
    await http.create()
    before = await http.raw()
    await http.api.patch_conditions(await http.api.read(), [condition()])
    after = await http.raw()
    for key in ("uid", "creationTimestamp", "generation", "labels"):
        assert after["metadata"][key] == before["metadata"][key]
    assert after["spec"] == before["spec"]
    assert after["status"]["conditions"][0]["lastTransitionTime"] == "2026-01-02T03:04:05Z"


async def test_a_wrong_token_is_unauthorized_until_the_file_is_mended(http: HttpWorld) -> None:
    await http.create()
    http.token_file.write_text("wrong")
    with pytest.raises(Trouble) as raised:
        await http.api.read()
    assert raised.value.reason is Reason.API_UNAUTHORIZED
    http.token_file.write_text(http.host_token)
    assert (await http.api.read()).identity == WORKLOAD.identity


async def test_the_server_ends_a_watch_and_that_is_quiet(http: HttpWorld) -> None:
    await http.create()
    short = http.client(watch_seconds=1)
    seen = await short.read()
    assert [change async for change in short.watch(seen.resource_version)] == []
    await short.close()


async def test_a_watch_shows_no_other_workload(http: HttpWorld) -> None:
    await http.create()
    version = (await http.api.read()).resource_version
    await http.must("POST", http.workloads, status_worlds.manifest(http.namespace, "vm-2"))
    await http.edit()
    changed = await first(http.api, version)
    assert changed is not None and changed.ports == WORKLOAD.ports[:1]


# the rights of a host, on the real server ----------------------------------------------------------


async def test_a_host_without_rights_is_forbidden(real: HttpWorld, request: pytest.FixtureRequest) -> None:
    await real.create()
    await real.create_lease({})
    seen = await real.api.read()
    real.trust(request.getfixturevalue("real_apiserver").host_token)
    calls = (
        real.api.read,
        real.api.read_lease,
        lambda: first(real.api, seen.resource_version),
        lambda: real.api.patch_conditions(seen, [condition()]),
        lambda: real.api.renew_lease(RENEWAL),
    )
    for call in calls:
        with pytest.raises(Trouble) as raised:
            await call()
        assert raised.value.reason is Reason.API_FORBIDDEN
        assert "cannot" in raised.value.detail


async def test_a_host_has_its_own_rights_and_no_more(real: HttpWorld) -> None:
    await real.create()
    await real.must("POST", real.workloads, status_worlds.manifest(real.namespace, "vm-2"))
    other = real.client(name="vm-2")
    calls = (other.read, other.read_lease, lambda: first(other, "0"))
    for call in calls:
        with pytest.raises(Trouble) as raised:
            await call()
        assert raised.value.reason is Reason.API_FORBIDDEN
    await other.close()


async def test_the_lease_of_the_manifest_is_renewed(real: HttpWorld) -> None:
    await real.create()
    await status_worlds.apply_manifest(real, "Lease", (await real.api.read()).uid)
    account = f"system:serviceaccount:{real.namespace}:fairlead-host-{NAME}"
    annotations = {**RENEWAL.annotations, "fairlead.dev/host": account}
    assert (await real.api.renew_lease(RENEWAL)) == dataclasses.replace(RENEWAL, annotations=annotations)
    raw = await real.must("GET", f"{real.leases}/{NAME}")
    assert [owner["name"] for owner in raw["metadata"]["ownerReferences"]] == [NAME]


# what only the one in memory can be told ----------------------------------------------------------


async def test_in_memory_a_watch_is_ended_or_broken_at_will() -> None:
    api = MemoryStatusApi()
    seen = api.create(WORKLOAD)
    async with opened(api, seen.resource_version) as watch:
        waiting = asyncio.ensure_future(anext(watch, None))
        await asyncio.sleep(0)
        api.end_watches()
        assert await waiting is None
    async with opened(api, seen.resource_version) as watch:
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        api.trouble_watches(Trouble(Reason.API_UNREACHABLE))
        with pytest.raises(Trouble):
            await waiting


async def test_in_memory_each_method_may_fail_and_is_counted() -> None:
    api = MemoryStatusApi()
    api.create(WORKLOAD)
    api.troubles["read"] = Trouble(Reason.API_TIMEOUT)
    with pytest.raises(Trouble):
        await api.read()
    del api.troubles["read"]
    written = await api.patch_conditions(await api.read(), [condition()])
    assert api.patches == [written.conditions]
    assert api.calls == {"read": 2, "patch_conditions": 1}
    api.forget()
    assert [seen async for seen in api.watch("100")] == []
