"""The status loop over a bad network, to the embedded API server and a real one: the truth lands, and the writes
are counted, at the server by its versions and at the loop by its own count."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agent.core.facts import AgentFact, WorkloadFact
from agent.core.goals import Advertise, Goals
from agent.core.reasons import Reason
from agent.loops.board import Board
from agent.loops.status import StatusLoop
from agent.sandbox.api_faults import Answer, Break, Raw
from agent.sandbox.apiserver import EXTERNAL_WORKLOADS
from tests.contract import status_worlds
from tests.contract.badnet import BadNet, bad_net
from tests.contract.status_worlds import NAME, EmbeddedWorld, HttpWorld
from tests.core.world import SPEC
from tests.loops.running import running

YES = Goals(advertise=Advertise.YES, reason=Reason.HOST_READY)
NO = Goals(advertise=Advertise.NO, reason=Reason.PROBE_FAILING)


@dataclass
class Scene:
    world: HttpWorld
    net: BadNet
    board: Board

    @property
    def writes(self) -> int:
        fact = self.board.facts.value.workload
        return fact.writes if isinstance(fact, WorkloadFact) else 0

    async def said(self) -> list[tuple[str, str]]:
        found = (await self.world.raw()).get("status", {}).get("conditions", [])
        return [(c["status"], c["reason"]) for c in found if c["type"] == "Ready"]

    async def wrote(self, times: int) -> None:
        """So often, and not once more: the server may have taken a write before its answer is here."""

        async def true() -> bool:
            return self.writes >= times

        await until(true)
        assert self.writes == times

    async def until(self, goals: Goals) -> None:
        """What the mesh reads is what the goals say."""
        wanted = ("True" if goals.advertise is Advertise.YES else "False", goals.reason.value)
        await until(lambda: self._is(wanted))

    async def _is(self, wanted: tuple[str, str]) -> bool:
        return await self.said() == [wanted]

    async def troubled(self) -> None:
        async def true() -> bool:
            fact = self.board.facts.value.workload
            return isinstance(fact, WorkloadFact) and fact.fault is not None

        await until(true)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not await true():  # type: ignore[misc]
            await asyncio.sleep(0.02)


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    async with status_worlds.made(request, tmp_path) as world:
        assert isinstance(world, HttpWorld)
        await world.create()
        async with started(world) as scene:
            yield scene


@asynccontextmanager
async def started(world: HttpWorld) -> AsyncIterator[Scene]:
    board = Board()
    async with bad_net(urlsplit(world.url).port or 443) as net:
        host = urlsplit(world.url).hostname
        api = world.client(server=f"https://{host}:{net.port}", timeout=0.5, watch_seconds=2)
        loop = StatusLoop(api, SPEC, board, board.setter("workload"), lambda: "2026-01-02T03:04:05Z", lambda: 0.0)
        try:
            async with running(loop.run()):
                yield Scene(world, net, board)
        finally:
            await api.close()


async def test_each_flip_is_one_write(scene: Scene) -> None:
    for n, goals in enumerate((YES, NO, YES), 1):
        scene.board.goals.set(goals)
        await scene.until(goals)
        await scene.wrote(n)
    scene.board.setter("agent")(AgentFact(0.0))
    await scene.wrote(3)


async def test_latency(scene: Scene) -> None:
    scene.net.delay = 0.02
    for goals in (YES, NO):
        scene.board.goals.set(goals)
        await scene.until(goals)
    await scene.wrote(2)


async def test_connections_are_reset_and_new_ones_for_a_while(scene: Scene) -> None:
    scene.board.goals.set(YES)
    await scene.until(YES)
    scene.net.refuse = True
    scene.net.reset()
    await scene.troubled()
    scene.board.goals.set(NO)
    await scene.troubled()
    scene.net.refuse = False
    await scene.until(NO)
    await scene.wrote(2)


async def test_a_server_falls_silent_in_the_middle_of_a_watch(scene: Scene) -> None:
    """No packet says so: the write notices at once, and the watch when its time is over."""
    scene.board.goals.set(YES)
    await scene.until(YES)
    scene.net.silent = True
    scene.board.goals.set(NO)
    await scene.troubled()
    scene.net.silent = False
    scene.net.reset()
    await scene.until(NO)
    assert scene.writes <= 2, "and perhaps one whose answer was lost"


async def test_another_writer_makes_conflicts(scene: Scene) -> None:
    """A label that changes all the time: versions are always old."""
    scene.board.goals.set(YES)
    for n in range(20):
        await scene.world.patch({"metadata": {"labels": {"n": str(n)}}})
        scene.board.goals.set(NO if n % 2 else YES)
    await scene.until(NO)
    assert scene.writes <= 20


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Scene]:
    async with status_worlds.embedded(tmp_path) as world:
        await world.create()
        async with started(world) as scene:
            yield scene


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (Answer(409), 3),
        (Answer(429, "1"), 2),
        (Answer(503), 2),
        (Break.TRUNCATE, 2),
        (Break.RESET, 2),
        (Raw('{"kind": "Extern'), 2),
    ],
    ids=str,
)
async def test_a_storm_of_refusals_is_outlived_by_few_requests(
    embedded: Scene, fault: Answer | Break | Raw, times: int
) -> None:
    world = embedded.world
    assert isinstance(world, EmbeddedWorld)
    world.server.faults.add(fault, times, method="PATCH")
    embedded.board.goals.set(YES)
    await embedded.until(YES)
    patches = [seen for seen in world.server.requests if seen.method == "PATCH"]
    assert len(patches) == times + 1, "each refusal costs one try"


async def test_a_watch_that_is_too_old_is_read_again_and_written_once(embedded: Scene) -> None:
    world = embedded.world
    assert isinstance(world, EmbeddedWorld)
    world.server.faults.add(Answer(410), 3, method="GET", path="externalworkloads")
    embedded.board.goals.set(YES)
    await embedded.wrote(1)
    assert [c["status"] for c in world.server.get(EXTERNAL_WORKLOADS, "hosts", NAME)["status"]["conditions"]] == [
        "True"
    ]
