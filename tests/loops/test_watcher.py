"""The watcher's loops in virtual time, while the API server is slow, refuses, or is away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from agent.cluster.watcher import judge
from agent.cluster.watcher.board import Board
from agent.cluster.watcher.judge import Judge
from agent.cluster.watcher.leader import Leader
from agent.cluster.watcher.observer import Observer
from agent.core.facts import Condition
from agent.core.reasons import Reason
from agent.core.watch.decision import Decision, Memory, decide
from agent.core.watch.election import Terms
from agent.core.watch.fleet import ALL, Name, View
from agent.core.watch.limits import Limits
from agent.ports import Trouble
from tests.fakes.fleet_api import MemoryFleetApi, MemoryLeaderApi
from tests.loops.running import running

READY = Condition("Ready", "True", "HostReady")


class Scene:
    """Ten hosts or more in one zone, or some; those in `dead` do not renew."""

    def __init__(self, *zones: str, hosts: int = 10) -> None:
        self.api, self.lease, self.skipped = MemoryFleetApi(), MemoryLeaderApi(), 0.0
        self.board = Board((ALL,), Limits(), self.clock)
        self.leader = Leader(self.lease, self.board, "me", Terms(), dict)
        wall, token = lambda: "2026-01-01T00:00:00Z", lambda: "t"
        self.judge = Judge(self.api, self.board, self.leader.leads, self.lease, wall, wall, token)
        self.observer = Observer(self.api, ALL, self.board, lambda: 0.5)
        self.names: list[Name] = [("shop", f"vm-{number}") for number in range(hosts)]
        self.dead: set[Name] = set()
        for number, name in enumerate(self.names):
            self.api.create(name, (zones or ("",))[number % len(zones or " ")], READY)
            self.api.renew(name)

    def clock(self) -> float:
        return asyncio.get_running_loop().time() + self.skipped

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for loop in (self.leader, self.judge, self.observer):
                await stack.enter_async_context(running(loop.run()))
            await stack.enter_async_context(running(self.renew()))
            yield

    async def renew(self) -> None:
        """The hosts that are not dead."""
        while True:
            for name in self.names:
                if name not in self.dead:
                    self.api.renew(name)
                await asyncio.sleep(10 / len(self.names))

    @property
    def marked(self) -> list[Name]:
        return [name for _, name in self.api.patches]


ONE: Name = ("shop", "vm-3")


async def _dead_for(scene: Scene, seconds: float, *names: Name) -> None:
    scene.dead |= set(names)
    await asyncio.sleep(seconds)


async def test_a_dead_host_is_marked_by_the_leader_alone() -> None:
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(20)
        await _dead_for(scene, 51, ONE)
        assert scene.marked == [ONE] and [name for name, _ in scene.api.events] == [ONE]
        other = ("shop", "vm-4")
        scene.lease.lease = await scene.lease.write(scene.lease.lease, "another", 15, {})
        await _dead_for(scene, 14, other)  # it is not free yet
        assert not scene.leader.leads()


@pytest.mark.parametrize("delay", [3.0, 5.0, 5.1, 7.0])
async def test_a_slow_api_server_delays_and_marks_nobody_wrongly(delay: float) -> None:
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(20)
        scene.api.delay = scene.lease.delay = delay
        await _dead_for(scene, 130, ONE)
        assert scene.marked == [ONE] and not scene.board.stale()


@pytest.mark.parametrize("reason", [Reason.API_THROTTLED, Reason.API_UNAUTHORIZED, Reason.API_FAILING])
async def test_after_readings_that_failed_every_host_gets_its_grace_again(reason: Reason) -> None:
    """A 429, a token that was rotated, a 5xx; the hosts could not renew either."""
    scene = Scene("a", "b")
    async with scene.playing():
        await asyncio.sleep(20)
        scene.api.troubles = {"leases": Trouble(reason, "no", retry_after=7.0)}
        await _dead_for(scene, 300, *scene.names)
        assert scene.board.stale() and scene.marked == []
        scene.api.troubles = {}
        scene.dead = {ONE}
        await asyncio.sleep(39)
        assert scene.marked == [] and not scene.board.faults
        await asyncio.sleep(16)
        assert scene.marked == [ONE]


async def test_a_host_that_is_quicker_than_its_verdict_is_asked_again() -> None:
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(20)
        scene.api.troubles = {"patch_conditions": Trouble(Reason.API_CONFLICT, "modified")}
        await _dead_for(scene, 55, ONE)
        assert scene.api.calls["patch_conditions"] >= 1 and not scene.board.faults
        scene.dead = set()
        scene.api.troubles = {}
        await asyncio.sleep(100)
        assert scene.marked == []


async def test_a_verdict_that_takes_long_is_not_given_twice() -> None:
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(20)
        scene.dead = {ONE}
        await asyncio.sleep(30)
        scene.api.delay = 7.0  # longer than until a host is asked again
        await asyncio.sleep(60)
        assert scene.marked == [ONE] and scene.api.calls["workload"] == 1


async def test_a_verdict_that_cannot_be_written_is_named_once_and_tried_again() -> None:
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(20)
        scene.api.troubles = {"patch_conditions": Trouble(Reason.API_FORBIDDEN, "no")}
        await _dead_for(scene, 90, ONE)
        assert [fault.reason for fault in scene.board.faults.values()] == [Reason.API_FORBIDDEN]
        assert 2 <= scene.api.calls["patch_conditions"] <= 5
        scene.api.troubles = {}
        await asyncio.sleep(61)
        assert scene.marked == [ONE] and not scene.board.faults


async def test_a_zone_that_dies_is_marked_at_its_pace_by_few_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each decision looks at every host, and with thousands of them takes tens of milliseconds."""
    decisions = 0

    def counted(views: Sequence[View], memory: Memory, now: float, limits: Limits) -> Decision:
        nonlocal decisions
        decisions += 1
        return decide(views, memory, now, limits)

    monkeypatch.setattr(judge, "decide", counted)
    scene = Scene(*"abc", hosts=240)
    async with scene.playing():
        await asyncio.sleep(20)
        await _dead_for(scene, 28, *(name for name in scene.names if scene.api.zones[name] == "a"))
        assert scene.marked == []
        decisions = 0
        await asyncio.sleep(20)
        assert len(scene.marked) == 80 and decisions <= 20 / judge.SPACING


async def test_a_fleet_at_rest_is_not_written() -> None:
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(3600)
        written = {"patch_conditions", "write_group_status", "post_event", "lease", "workload"}
        assert not written & scene.api.calls.keys()


async def test_an_hour_in_which_the_machine_was_suspended_is_a_gap() -> None:
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(21)
        scene.skipped += 3600
        assert scene.board.stale() and not scene.leader.leads()
        await asyncio.sleep(60)
        assert scene.marked == [] and scene.leader.leads()


async def test_a_leader_that_stops_between_reading_and_writing_writes_nothing() -> None:
    scene = Scene()
    async with scene.playing():
        await asyncio.sleep(20)
        scene.api.delay = 1.0
        scene.dead = {ONE}
        while not scene.api.calls["workload"]:
            await asyncio.sleep(0.1)
        scene.skipped += 3600  # while the two live readings are on their way
        await asyncio.sleep(20)
        assert scene.api.calls["patch_conditions"] == 0


async def test_the_guard_is_named_and_says_when_it_is_over() -> None:
    scene = Scene("a", "b")
    names = scene.names
    async with scene.playing():
        await asyncio.sleep(20)
        await _dead_for(scene, 45, *(name for name in names[:8] if names.index(name) % 2 == 0), names[1])
        assert scene.board.faults["zone a"].reason is Reason.ZONE_GUARDED
        assert [event.reason for event in scene.lease.events] == ["ZoneGuarded"]
        await _dead_for(scene, 60, *names)
        assert scene.board.faults["the fleet"].reason is Reason.FLEET_SILENT
        scene.dead = set()
        await asyncio.sleep(60)
        assert not scene.board.faults
