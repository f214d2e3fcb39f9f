"""The watcher's fault scenarios in virtual time: what must never mark a host that is well, or mark one twice."""

import asyncio
import dataclasses
import itertools

import pytest

from agent.cluster.watcher.judge import Judge
from agent.cluster.watcher.leader import Leader
from agent.cluster.watcher.observer import Observer
from agent.core.facts import Condition
from agent.core.reasons import Reason
from agent.core.watch.election import Terms
from agent.core.watch.fleet import ALL, Name
from agent.ports import Trouble
from tests.loops.running import running
from tests.loops.test_watcher import READY, Scene

ONE: Name = ("shop", "vm-3")
ALL_CALLS = ("leases", "workloads", "lease", "workload", "patch_conditions", "post_event")


def second_replica(first: Scene) -> Scene:
    """Of the same fleet and the same Lease."""
    other = Scene()
    other.api, other.lease = first.api, first.lease
    other.leader = Leader(first.lease, other.board, "second", Terms(), dict)
    wall, token = lambda: "2026-01-01T00:00:00Z", lambda: "t"
    other.judge = Judge(first.api, other.board, other.leader.leads, first.lease, wall, wall, token)
    other.observer = Observer(first.api, ALL, other.board, lambda: 0.5)
    return other


@pytest.mark.parametrize("gone", [16, 60, 3600])
async def test_a_watcher_that_is_partitioned_marks_nobody(gone: int) -> None:
    """The hosts renew all the time, and it does not see it; one dies meanwhile."""
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(20)
        trouble = Trouble(Reason.API_UNREACHABLE, "no route")
        scene.api.troubles, scene.lease.trouble = dict.fromkeys(ALL_CALLS, trouble), trouble
        scene.dead = {ONE}
        await asyncio.sleep(gone)
        assert scene.marked == [] and not scene.leader.leads()
        scene.api.troubles, scene.lease.trouble = {}, None
        await asyncio.sleep(38)
        assert scene.marked == [], "every host has its grace again"
        await asyncio.sleep(20)
        assert scene.marked == [ONE]


async def test_a_leader_that_dies_before_its_write_leaves_one_mark_by_the_next() -> None:
    scene = Scene()
    async with running(scene.renew()):
        async with running(scene.leader.run(), scene.judge.run(), scene.observer.run()):
            await asyncio.sleep(20)
            scene.dead, scene.api.delay = {ONE}, 0.5
            other = second_replica(scene)
            observing = asyncio.create_task(other.observer.run())
            while not scene.api.calls["workload"]:
                await asyncio.sleep(0.1)
        assert scene.marked == [], "killed with both readings on their way"
        async with running(other.leader.run(), other.judge.run()):
            await asyncio.sleep(60)
            assert scene.marked == [ONE] and len(scene.api.events) == 1
        observing.cancel()


async def test_a_wall_clock_that_jumps_by_years_changes_no_verdict() -> None:
    scene = Scene()
    years = itertools.cycle(["1970-01-01T00:00:00Z", "2099-12-31T23:59:59Z"])
    clocks = (lambda: next(years), lambda: next(years))
    scene.judge = Judge(scene.api, scene.board, scene.leader.leads, scene.lease, *clocks, lambda: "t")
    async with scene.playing():
        await asyncio.sleep(20)
        scene.dead = {ONE}
        await asyncio.sleep(28)
        assert scene.marked == []
        await asyncio.sleep(25)
        assert scene.marked == [ONE]


async def test_a_lease_that_is_deleted_is_not_judged_and_one_made_anew_begins_its_grace() -> None:
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(20)
        scene.dead = {ONE}
        lease = scene.api.leases_there.pop(ONE)
        await asyncio.sleep(200)
        assert scene.marked == []
        scene.api.leases_there[ONE] = dataclasses.replace(lease, uid="another", version="again")
        await asyncio.sleep(38)
        assert scene.marked == []
        await asyncio.sleep(20)
        assert scene.marked == [ONE]


@pytest.mark.parametrize(
    ("change", "silent"),
    [({"owner": "another's"}, None), ({"renewed": False}, None), ({"duration": 315_360_000}, 900), ({}, 40)],
    ids=["owned by another", "never renewed", "edited to ten years", "as it was"],
)
async def test_a_lease_that_was_edited(change: dict[str, object], silent: int | None) -> None:
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(20)
        scene.dead = {ONE}
        lease = scene.api.leases_there[ONE]
        scene.api.leases_there[ONE] = dataclasses.replace(lease, version="edited", **change)  # type: ignore[arg-type]  # fields
        await asyncio.sleep((silent or 2000) - 2)
        assert scene.marked == []
        await asyncio.sleep(20)
        assert scene.marked == ([] if silent is None else [ONE])


async def test_an_external_workload_made_anew_under_its_name_is_another_one() -> None:
    """While the verdict on the one before is under way."""
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(20)
        scene.dead, scene.api.delay = {ONE}, 1.0
        while not scene.api.calls["workload"]:
            await asyncio.sleep(0.1)
        scene.api.create(ONE, "", READY)
        scene.api.delay = 0.0
        await asyncio.sleep(200)
        assert scene.marked == [], "its Lease is the one of the object before it"
        scene.api.renew(ONE)
        await asyncio.sleep(60)
        assert scene.marked == [ONE]


@pytest.mark.parametrize("renews", [True, False])
async def test_a_host_that_is_not_ready_by_its_own_report_is_not_written(renews: bool) -> None:
    """One that renews with a dead proxy reports it itself; that is its agent's business."""
    scene = Scene()
    scene.api.report(ONE, Condition("Ready", "False", "ProxyCrashed"))
    async with scene.playing():
        await asyncio.sleep(20)
        scene.dead = set() if renews else {ONE}
        await asyncio.sleep(300)
        assert scene.marked == [] and not scene.board.faults


@pytest.mark.parametrize("reason", [Reason.WORKLOAD_KIND_ABSENT, Reason.API_REFUSED])
async def test_a_cluster_without_the_kind_or_a_page_that_expired(reason: Reason) -> None:
    """v1alpha1 alone is served, or a page is answered by 410: all is read again, from the first page."""
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(20)
        scene.api.troubles = {"workloads": Trouble(reason, "the continue parameter is too old")}
        scene.dead = {ONE}
        await asyncio.sleep(14)
        scene.api.troubles = {}
        await asyncio.sleep(60)
        assert scene.marked == [ONE] and not scene.board.faults
