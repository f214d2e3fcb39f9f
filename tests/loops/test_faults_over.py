"""A fault that is over is no longer reported: the host has recovered, has left, or has another agent."""

import asyncio

import pytest

from agent.core import facts as f
from agent.core import snapshot
from agent.core.goals import ProxyGoal
from agent.core.reasons import Fault, Reason
from agent.core.replacement import Replacement, Stage
from agent.loops.board import Board
from agent.loops.replacement import ReplacementLoop
from agent.ports import Trouble
from tests.core import world
from tests.core.test_policy import serving
from tests.core.world import SPEC
from tests.fakes.trust_anchors import MemoryTrustAnchors
from tests.loops.running import running
from tests.loops.test_identity_anchors import NEW, OLD, SVID, Desk
from tests.loops.test_proxy import HOLD, RUNNING, STOPPED, Scene
from tests.loops.test_status import YES
from tests.loops.test_status import Scene as StatusScene

LEFT = f.Phase(f.PhaseKind.LEFT)


class Record:
    """ports.ReplacementStore of a host on which nothing has to be swapped. `full`: nothing can be written."""

    def __init__(self, stage: Stage) -> None:
        self.change = Replacement("", "", stage, "the proxy is not running")
        self.full = False

    def recall(self, now: float) -> Replacement | None:
        return self.change

    def remember(self, change: Replacement) -> None:
        if self.full:
            raise Trouble(Reason.PROXY_REPLACEMENT_FAILED, "cannot write: no space left")
        self.change = change

    async def use(self, version: str) -> None:
        raise AssertionError("nothing is swapped")

    async def cover(self, version: str) -> None:
        raise AssertionError("no second slot is used")


class Host:
    def __init__(self, record: Record, proxy: str) -> None:
        self.record, self.board = record, Board()
        self.loop = ReplacementLoop(record, SPEC, self.board, self.board.setter("replacement"), 60.0)
        self.board.phase.set(f.Phase(f.PhaseKind.MEMBER))
        self.show(proxy=world.proxy(proxy))

    def show(self, **changes: object) -> None:
        facts = serving(replacement=self.board.facts.value.replacement, **changes)
        self.board.facts.set(facts)

    @property
    def reasons(self) -> set[Reason]:
        return {fault.reason for fault in snapshot.problems(SPEC, self.board.facts.value, 0.0)}


async def test_a_replacement_that_failed_is_over_once_a_proxy_is_ready() -> None:
    host = Host(Record(Stage.FAILED), "stopped")
    async with running(host.loop.run()):
        await asyncio.sleep(1)
        assert Reason.PROXY_REPLACEMENT_FAILED in host.reasons
        host.show(proxy=world.proxy("ready"))
        await asyncio.sleep(1)
        assert host.reasons == set()
    assert host.record.change.stage is Stage.CLEARED


async def test_a_replacement_that_failed_before_this_agent_is_over_on_a_host_that_serves() -> None:
    host = Host(Record(Stage.FAILED), "ready")
    host.record.full = True  # what cannot be written is over all the same
    async with running(host.loop.run()):
        await asyncio.sleep(1)
        assert host.reasons == set()
    assert host.record.change.stage is Stage.FAILED


@pytest.mark.parametrize("stage", [Stage.FAILED, Stage.BACK_AGAIN])
async def test_what_became_of_a_replacement_is_over_once_the_host_has_left(stage: Stage) -> None:
    host = Host(Record(stage), "stopped")
    host.board.phase.set(LEFT)
    async with running(host.loop.run()):
        await asyncio.sleep(1)
        assert host.record.change.stage is stage, "a redirect is on"
        host.show(proxy=world.proxy("stopped"), redirect=world.redirect("off", "off"))
        await asyncio.sleep(1)
    assert host.record.change.stage is Stage.CLEARED
    assert host.reasons.isdisjoint({Reason.PROXY_REPLACEMENT_FAILED, Reason.PROXY_WENT_BACK})


async def test_a_version_that_did_not_work_stays_named_while_the_previous_one_serves() -> None:
    host = Host(Record(Stage.BACK_AGAIN), "ready")
    async with running(host.loop.run()):
        await asyncio.sleep(3600)
        assert host.reasons == {Reason.PROXY_WENT_BACK}


def named(scene: Scene) -> Reason | None:
    return scene.reason


async def test_why_a_proxy_did_not_start_is_over_once_none_is_wanted() -> None:
    scene = Scene(goal=RUNNING)
    scene.runtime.trouble = Trouble(Reason.PROXY_BINARY_UNUSABLE, "it is gone")
    async with scene.playing(1):
        assert named(scene) is Reason.PROXY_BINARY_UNUSABLE
        scene.want(STOPPED)
        await asyncio.sleep(1)
        assert named(scene) is Reason.PROXY_STOPPED


async def test_how_a_proxy_ended_is_over_once_none_is_wanted() -> None:
    scene = Scene(survivor=True, goal=HOLD)
    async with scene.playing(1):
        scene.crash()
        await asyncio.sleep(1)
        assert named(scene) is Reason.PROXY_CRASHED
        scene.want(STOPPED)
        await asyncio.sleep(1)
        assert named(scene) is Reason.PROXY_STOPPED


async def test_a_start_that_cannot_be_called_off_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(goal=ProxyGoal.STOPPED)
    troubles = [Trouble(Reason.PROXY_UNIT_FAILED, "no answer")] * 2

    async def abandon() -> None:
        if troubles:
            raise troubles.pop()

    monkeypatch.setattr(scene.runtime, "abandon", abandon)
    async with scene.playing(1):
        assert named(scene) is Reason.PROXY_UNIT_FAILED
        await asyncio.sleep(10)
        assert named(scene) is Reason.PROXY_STOPPED


async def test_refused_anchors_are_over_once_they_are_in_force() -> None:
    source = MemoryTrustAnchors(OLD)
    desk = Desk(source, rooted=True)
    desk.holds(SVID, NEW)
    source.offer = (NEW,)
    async with desk.running():
        await asyncio.sleep(1)
        assert desk.reason is Reason.TRUST_ANCHORS_REFUSED
        source.mine = (NEW,)
        await asyncio.sleep(11)
        assert desk.last.fault is None


async def test_an_api_server_that_answers_with_an_old_state_is_no_trouble_any_more() -> None:
    scene = StatusScene()
    scene.show(YES)
    old = scene.api.workload
    async with running(scene.loop.run()):
        await asyncio.sleep(1)
        scene.api.troubles["read"] = Trouble(Reason.API_UNREACHABLE)
        scene.api.trouble_watches(Trouble(Reason.API_UNREACHABLE))
        await asyncio.sleep(1)
        assert scene.fact.fault == Fault(Reason.API_UNREACHABLE)
        scene.api.troubles.clear()
        scene.api.workload = old  # by a server that lags behind
        scene.api.forget()
        await asyncio.sleep(31)
        assert scene.fact.fault is None
