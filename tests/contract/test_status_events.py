"""What a cluster may lack, and Events: the same on the embedded API server and on a real one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.core.facts import Workload
from agent.core.reasons import Reason
from agent.ports import Event, Trouble
from agent.sandbox.api.server import Ask
from tests.contract import status_worlds
from tests.contract.status_worlds import NAME, EmbeddedWorld, HttpWorld, condition

REAL = pytest.param("real", marks=pytest.mark.real)
TIME, LATER = "2026-01-02T03:04:05.678901Z", "2026-01-02T03:05:05.000001Z"
FALL = Event(f"{NAME}.1", "", TIME, "BecomeUnready", "ProbeFailing", "the application fails", True)


@pytest.fixture(params=["embedded", REAL])
async def http(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HttpWorld]:
    async with status_worlds.made(request, tmp_path) as world:
        assert isinstance(world, HttpWorld)
        await world.create()
        try:
            yield world
        finally:
            await world.serve()


async def allow_whole(world: HttpWorld) -> None:
    """The extra rule of config/cluster/host.yaml."""
    if isinstance(world, EmbeddedWorld):
        world.server.allow = lambda _: True
        return
    role = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/fairlead-host-" + NAME
    rules = (await world.must("GET", role.format(world.namespace)))["rules"]
    extra = {"apiGroups": ["workload.linkerd.io"], "resources": ["externalworkloads"], "verbs": ["patch"]}
    await world.must("PATCH", role.format(world.namespace), {"rules": [*rules, extra]})


def hosts_rights(ask: Ask) -> bool:
    """Those of config/cluster/host.yaml, where the embedded server stands in."""
    return ask.user != "host" or ask.verb != "patch" or ask.resource != "externalworkloads"


async def refused(world: HttpWorld) -> Trouble:
    with pytest.raises(Trouble) as raised:
        await world.api.patch_conditions(await world.api.read(), [condition()])
    return raised.value


async def test_a_cluster_without_v1beta1_is_told_from_a_missing_workload(http: HttpWorld) -> None:
    seen = await http.api.read()
    await http.serve(kind=False)
    for call in (http.api.read, lambda: http.api.patch_conditions(seen, [condition()])):
        with pytest.raises(Trouble) as raised:
            await call()
        assert raised.value.reason is Reason.WORKLOAD_KIND_ABSENT
    await http.serve()
    await http.delete()
    with pytest.raises(Trouble) as raised:
        await http.api.read()
    assert raised.value.reason is Reason.WORKLOAD_MISSING


async def test_without_a_status_of_its_own_the_object_itself_is_patched_where_allowed(http: HttpWorld) -> None:
    if isinstance(http, EmbeddedWorld):
        http.server.allow = hosts_rights
    await http.serve(status=False)
    assert (await refused(http)).reason is Reason.STATUS_SUBRESOURCE_ABSENT
    await allow_whole(http)
    written = await _until_allowed(http)
    assert written.conditions == (condition(),) == (await http.api.read()).conditions
    fallen = condition("False", "ProbeFailing")
    assert (await http.api.patch_conditions(written, [fallen])).conditions == (fallen,)
    await http.serve()  # the upgrade to 2.16: a status in the object itself is dropped silently
    risen = await http.api.patch_conditions(await http.api.read(), [condition()])
    assert risen.conditions == (condition(),) == (await http.api.read()).conditions


async def _until_allowed(world: HttpWorld) -> Workload:
    """Rights reach the server's caches a moment after they were written."""
    for _ in range(200):
        try:
            return await world.api.patch_conditions(await world.api.read(), [condition()])
        except Trouble as trouble:
            assert trouble.reason is Reason.STATUS_SUBRESOURCE_ABSENT, trouble
    raise AssertionError("the extra right never comes into force")


async def test_a_patch_of_a_deleted_workload_is_missing(http: HttpWorld) -> None:
    seen = await http.api.read()
    await http.delete()
    with pytest.raises(Trouble) as raised:
        await http.api.patch_conditions(seen, [condition()])
    assert raised.value.reason is Reason.WORKLOAD_MISSING


async def test_an_event_and_its_series(http: HttpWorld) -> None:
    await http.api.post_event(FALL)
    await http.api.repeat_event(FALL.name, 3, LATER)
    raw = await http.must("GET", f"/apis/events.k8s.io/v1/namespaces/{http.namespace}/events/{FALL.name}")
    assert (raw["reason"], raw["type"], raw["action"]) == ("ProbeFailing", "Warning", "BecomeUnready")
    assert raw["series"] == {"count": 3, "lastObservedTime": LATER}
    assert raw["regarding"]["name"] == NAME and raw["eventTime"] == TIME


async def test_a_series_whose_event_has_run_out(http: HttpWorld) -> None:
    with pytest.raises(Trouble) as raised:
        await http.api.repeat_event("nobody.1", 2, LATER)
    assert raised.value.reason is Reason.EVENT_GONE
