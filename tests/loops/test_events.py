import asyncio
import itertools

import pytest

from agent.core.events import BURST, REFILL
from agent.core.facts import Condition, Workload, WorkloadFact
from agent.core.reasons import Reason
from agent.loops.board import Board
from agent.loops.events import EventsLoop
from agent.ports import Event, Trouble
from tests.loops.running import running

pytestmark = pytest.mark.status


class Api:
    """Takes Events in memory, or raises `trouble`."""

    def __init__(self) -> None:
        self.posted: list[Event] = []
        self.repeats: list[tuple[str, int, str]] = []
        self.calls, self.trouble = 0, None  # type: int, Trouble | None

    async def post_event(self, event: Event) -> None:
        self._enter()
        self.posted.append(event)

    async def repeat_event(self, name: str, count: int, last: str) -> None:
        self._enter()
        if name not in {event.name for event in self.posted}:
            raise Trouble(Reason.EVENT_GONE)
        self.repeats.append((name, count, last))

    def _enter(self) -> None:
        self.calls += 1
        if self.trouble is not None:
            raise self.trouble


class Scene:
    def __init__(self) -> None:
        self.api, self.board = Api(), Board()
        numbers = map(str, itertools.count(1))
        self.loop = EventsLoop(self.api, self.board, "db-1", lambda: "now", lambda: next(numbers))

    async def says(self, reason: Reason, status: str = "False", uid: str = "a", seconds: float = 1) -> None:
        ready = Condition("Ready", status, reason.value)
        self.board.setter("workload")(WorkloadFact(Workload(uid, "", "", "", conditions=(ready,))))
        await asyncio.sleep(seconds)


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_a_transition_is_told_with_its_reason_and_way_out(scene: Scene) -> None:
    async with running(scene.loop.run()):
        await scene.says(Reason.HOST_READY, "True")
        assert scene.api.calls == 0, "what stood there at the start is no transition"
        await scene.says(Reason.PROBE_FAILING)
        await scene.says(Reason.PROBE_FAILING)
        await scene.says(Reason.HOST_READY, "True")
    fall, back = scene.api.posted
    assert (fall.name, fall.uid, fall.action, fall.reason, fall.warning) == (
        "db-1.1",
        "a",
        "BecomeUnready",
        "ProbeFailing",
        True,
    )
    assert "check that it runs" in fall.note
    assert (back.action, back.reason, back.warning) == ("BecomeReady", "HostReady", False)


async def test_repeats_join_their_series_and_none_passes_the_budget(scene: Scene) -> None:
    async with running(scene.loop.run()):
        for _ in range(300):
            await scene.says(Reason.HOST_READY, "True", seconds=3)
            await scene.says(Reason.PROBE_FAILING, seconds=3)
    assert [e.reason for e in scene.api.posted] == ["ProbeFailing", "HostReady"]
    assert scene.api.calls <= BURST + 1800 / REFILL
    assert scene.api.repeats[-1][1] > 200, "it counts what it did not tell"


async def test_a_foreign_reason_and_another_object_are_no_event(scene: Scene) -> None:
    async with running(scene.loop.run()):
        await scene.says(Reason.HOST_READY, "True")
        ready = Condition("Ready", "False", "ByHand")
        scene.board.setter("workload")(WorkloadFact(Workload("a", "", "", "", conditions=(ready,))))
        await asyncio.sleep(1)
        await scene.says(Reason.HOST_READY, "True", uid="b")
    assert [e.reason for e in scene.api.posted] == []


@pytest.mark.parametrize("reason", [Reason.API_FORBIDDEN, Reason.API_UNREACHABLE, Reason.EVENT_GONE])
async def test_trouble_matters_to_nobody_and_a_series_that_is_gone_begins_anew(
    scene: Scene, reason: Reason
) -> None:
    async with running(scene.loop.run()):
        await scene.says(Reason.HOST_READY, "True")
        await scene.says(Reason.PROBE_FAILING)
        await scene.says(Reason.HOST_READY, "True")
        scene.api.trouble = Trouble(reason)
        await scene.says(Reason.PROBE_FAILING)
        scene.api.trouble = None
        await scene.says(Reason.STARTING)
        await scene.says(Reason.PROBE_FAILING)
    assert [e.reason for e in scene.api.posted] == ["ProbeFailing", "HostReady", "Starting", "ProbeFailing"]
