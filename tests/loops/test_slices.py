import asyncio
import dataclasses

import pytest

from agent.core.facts import Phase, PhaseKind, SlicesFact
from agent.core.reasons import Fault, Reason
from agent.core.replacement import Replacement, Stage
from agent.loops.board import Board
from agent.loops.slices import POLL, SlicesLoop
from agent.ports import Trouble
from tests.core import world
from tests.loops.running import running


class Slices:
    """`answer`: what each look sees, or the trouble that it has."""

    def __init__(self) -> None:
        self.answer: bool | Trouble = True
        self.looks = 0

    async def listed(self) -> bool:
        self.looks += 1
        if isinstance(self.answer, Trouble):
            raise self.answer
        return self.answer


class Scene:
    def __init__(self) -> None:
        self.api, self.board = Slices(), Board()
        self.loop = SlicesLoop(self.api, self.board, self.board.setter("slices"))

    def phase(self, kind: PhaseKind) -> None:
        self.board.phase.set(Phase(kind, asyncio.get_running_loop().time()))

    def told(self, ready: str) -> None:
        self.board.setter("workload")(world.workload(ready))

    @property
    def fact(self) -> SlicesFact:
        fact = self.board.facts.value.slices
        assert isinstance(fact, SlicesFact)
        return fact


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_a_member_does_not_look(scene: Scene) -> None:
    scene.phase(PhaseKind.MEMBER)
    scene.told("False")
    async with running(scene.loop.run()):
        await asyncio.sleep(3600)
    assert scene.api.looks == 0 and scene.fact == SlicesFact()


async def test_it_looks_once_ready_is_gone_until_no_slice_lists_the_host(scene: Scene) -> None:
    scene.phase(PhaseKind.DRAINED)
    scene.told("True")
    async with running(scene.loop.run()):
        await asyncio.sleep(10)
        assert scene.api.looks == 0, "what peers will be told is not decided yet"
        scene.told("False")
        await asyncio.sleep(10 * POLL)
        assert scene.fact == SlicesFact(listed=True) and 9 <= scene.api.looks <= 11
        scene.api.answer = False
        await asyncio.sleep(POLL)
        assert scene.fact.listed is False and scene.fact.unlisted_since is not None
        looks = scene.api.looks
        await asyncio.sleep(3600)
        assert scene.api.looks == looks, "it looks no more"


async def test_a_second_drain_takes_nothing_from_the_first(scene: Scene) -> None:
    scene.phase(PhaseKind.DRAINED)
    scene.told("False")
    scene.api.answer = False
    async with running(scene.loop.run()):
        await asyncio.sleep(1)
        assert scene.fact.unlisted_since is not None
        scene.phase(PhaseKind.MEMBER)
        scene.told("True")
        await asyncio.sleep(1)
        assert scene.fact == SlicesFact()
        scene.api.answer = True
        scene.phase(PhaseKind.LEFT)
        scene.told("False")
        await asyncio.sleep(1)
        assert scene.fact == SlicesFact(listed=True)


async def test_a_member_whose_proxy_is_replaced_looks_until_that_is_over(scene: Scene) -> None:
    scene.phase(PhaseKind.MEMBER)
    scene.told("False")
    change = Replacement("2.366.0", "2.360.0", Stage.LEAVING)
    scene.board.setter("replacement")(change)
    async with running(scene.loop.run()):
        await asyncio.sleep(1)
        assert scene.fact == SlicesFact(listed=True)
        scene.board.setter("replacement")(dataclasses.replace(change, stage=Stage.DONE))
        await asyncio.sleep(1)
        looks = scene.api.looks
        assert scene.fact == SlicesFact()
        await asyncio.sleep(60)
        assert scene.api.looks == looks


async def test_a_right_that_is_missing_is_named_and_counts_once_it_is_given(scene: Scene) -> None:
    scene.phase(PhaseKind.LEFT)
    scene.told("False")
    scene.api.answer = Trouble(Reason.API_FORBIDDEN, "no list for you")
    async with running(scene.loop.run()):
        await asyncio.sleep(3600)
        assert scene.fact == SlicesFact(fault=Fault(Reason.SLICES_FORBIDDEN, "no list for you"))
        assert scene.api.looks <= 13, "seldom"
        scene.api.answer = False
        await asyncio.sleep(300)
        assert (scene.fact.fault, scene.fact.listed) == (None, False)


async def test_an_api_server_that_is_away_is_asked_again(scene: Scene) -> None:
    scene.phase(PhaseKind.LEFT)
    scene.told("False")
    scene.api.answer = Trouble(Reason.API_UNREACHABLE)
    async with running(scene.loop.run()):
        await asyncio.sleep(5)
        assert scene.fact == SlicesFact(fault=Fault(Reason.API_UNREACHABLE))
        scene.api.answer = False
        await asyncio.sleep(1)
        assert scene.fact.listed is False
