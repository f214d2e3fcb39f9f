"""The status loop over a bad network and through a proxy that injects faults, to the embedded API server and to a
real one: the true state is written, and every request and every write on the way is counted."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.core.facts import AgentFact, LeaseFact, WorkloadFact
from agent.core.goals import Advertise, Goals
from agent.core.reasons import Reason
from agent.loops.board import Board
from agent.loops.status import StatusLoop
from agent.sandbox.api.faults import Answer, Break, Raw
from tests.contract import status_worlds
from tests.contract.faultproxy import FaultProxy, fault_proxy
from tests.contract.faulty_network import FaultyNetwork, faulty_network
from tests.contract.status_worlds import HttpWorld
from tests.core.world import SPEC
from tests.loops.running import running

CONDITION = {"type": "Ready", "status": "False", "reason": "ByHand"}
YES = Goals(advertise=Advertise.YES, reason=Reason.HOST_READY)
NO = Goals(advertise=Advertise.NO, reason=Reason.PROBE_FAILING)
PATIENCE, WATCH_SECONDS = 1.0, 3  # seconds for one call, and for one watch


@dataclass
class Scene:
    """`proxy` counts what the loop asks; `made` is the version of the object before the loop's first write."""

    world: HttpWorld
    net: FaultyNetwork
    proxy: FaultProxy
    board: Board
    made: str

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

    async def landed(self) -> list[str]:
        """What Ready said after each change that the server took since the beginning."""
        query = {"watch": "1", "timeoutSeconds": "1", "resourceVersion": self.made}
        lines = await self.world.lines(self.world.workloads, query)
        changes = [json.loads(line)["object"].get("status", {}).get("conditions", []) for line in lines]
        return [c["status"] for change in changes for c in change if c["type"] == "Ready"]

    async def until(self, goals: Goals) -> None:
        """What the mesh reads is what the goals say."""
        wanted = ("True" if goals.advertise is Advertise.YES else "False", goals.reason.value)
        await until(lambda: self._is(wanted))

    async def _is(self, wanted: tuple[str, str]) -> bool:
        return await self.said() == [wanted]

    async def settled(self) -> None:
        """The loop watches again, and has seen the object as it is."""

        async def true() -> bool:
            fact, there = self.board.facts.value.workload, (await self.world.raw())["metadata"]["resourceVersion"]
            return isinstance(fact, WorkloadFact) and fact.seen is not None and fact.seen.resource_version == there

        await until(true)
        await self.proxy.watched()

    async def troubled(self) -> None:
        async def true() -> bool:
            fact = self.board.facts.value.workload
            return isinstance(fact, WorkloadFact) and fact.fault is not None

        await until(true)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not await true():  # type: ignore[misc]
            await asyncio.sleep(0.02)


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    async with status_worlds.made(request, tmp_path) as world:
        assert isinstance(world, HttpWorld)
        await world.create()
        async with started(world, tmp_path / "proxy") as scene:
            yield scene


@asynccontextmanager
async def started(world: HttpWorld, folder: Path) -> AsyncIterator[Scene]:
    """The loop, and between it and the server first the network, then the proxy."""
    board, made = Board(), (await world.raw())["metadata"]["resourceVersion"]
    async with fault_proxy(world, folder) as proxy, faulty_network(proxy.port) as net:
        api = world.client(
            server=f"https://127.0.0.1:{net.port}",
            ca_file=str(proxy.ca_file),
            timeout=PATIENCE,
            watch_seconds=WATCH_SECONDS,
        )
        board.setter("lease")(LeaseFact(""))
        loop = StatusLoop(api, SPEC, board, board.setter("workload"), lambda: "2026-01-02T03:04:05Z", lambda: 0.0)
        try:
            async with running(loop.run()):
                await proxy.watched()
                yield Scene(world, net, proxy, board, made)
        finally:
            await api.close()


async def test_each_flip_is_one_write(scene: Scene) -> None:
    for n, goals in enumerate((YES, NO, YES), 1):
        scene.board.goals.set(goals)
        await scene.until(goals)
        await scene.wrote(n)
    scene.board.setter("agent")(AgentFact(0.0))
    await scene.wrote(3)
    assert await scene.landed() == ["True", "False", "True"]
    assert len(scene.proxy.asked("PATCH")) == 3


async def test_latency(scene: Scene) -> None:
    scene.net.delay = 0.02
    for goals in (YES, NO):
        scene.board.goals.set(goals)
        await scene.until(goals)
    await scene.wrote(2)


async def test_connections_are_reset_and_new_ones_for_a_while(scene: Scene) -> None:
    scene.board.goals.set(YES)
    await scene.until(YES)
    await scene.wrote(1)  # its answer is here, or the reset would lose it
    scene.net.refuse = True
    scene.net.reset()
    await scene.troubled()
    scene.board.goals.set(NO)
    await scene.troubled()
    scene.net.refuse = False
    await scene.until(NO)
    await scene.wrote(2)


async def test_a_server_falls_silent_in_the_middle_of_a_watch(scene: Scene) -> None:
    """No packet reports it: the write notices at once, and the watch at its timeout."""
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


async def test_a_server_that_was_away_is_told_the_truth_once(scene: Scene) -> None:
    scene.board.goals.set(YES)
    await scene.until(YES)
    scene.net.refuse = True
    scene.net.reset()
    for goals in (NO, YES, NO, YES, NO):
        scene.board.goals.set(goals)
        await scene.troubled()
    scene.net.refuse = False
    await scene.until(NO)
    assert await scene.landed() == ["True", "False"]


# refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (Answer(409), 4),
        (Answer(429), 3),
        (Answer(429, "1"), 2),
        (Answer(500), 3),
        (Answer(503), 3),
        (Answer(503, "1"), 2),
        (Raw("<html>", 502), 2),
        (Break.TRUNCATE, 2),
        (Break.RESET, 2),
        (Break.HANG, 2),
        (Raw('{"kind": "Extern'), 2),
    ],
    ids=str,
)
async def test_a_storm_of_refusals_costs_one_request_each_and_ends_in_one_write(
    scene: Scene, fault: Answer | Break | Raw, times: int
) -> None:
    scene.proxy.faults.add(fault, times, method="PATCH")
    scene.board.goals.set(YES)
    await scene.until(YES)
    await scene.wrote(1)
    assert await scene.landed() == ["True"]
    assert len(scene.proxy.asked("PATCH")) == times + 1


@pytest.mark.parametrize("fault", [Answer(429, "1"), Answer(503), Answer(410), Break.RESET], ids=str)
async def test_a_storm_while_reading_does_not_hold_up_the_write(scene: Scene, fault: Answer | Break) -> None:
    """The watch ends, and what comes then is refused: what was seen last suffices for a write."""
    scene.proxy.faults.add(fault, 3, method="GET")
    scene.proxy.hang_up()
    scene.board.goals.set(YES)
    await scene.until(YES)
    await scene.wrote(1)
    assert len(scene.proxy.asked("PATCH")) == 1
    assert len(scene.proxy.asked("GET")) <= 2 * 3 + 2, "aiohttp itself tries a GET again after a reset"


async def test_a_write_whose_answer_is_lost_is_not_made_again(scene: Scene) -> None:
    scene.proxy.lose(1)
    scene.board.goals.set(YES)
    await scene.until(YES)
    await scene.settled()
    assert await scene.landed() == ["True"]
    guards = {version for seen in scene.proxy.asked("PATCH") for version in _guards(seen.body)}
    assert guards == {scene.made}, "a retry before the next reading is one that the server refuses"


def _guards(body: object) -> list[str]:
    match body:
        case {"metadata": {"resourceVersion": str(version)}}:
            return [version]
    return []


# in the middle of a watch --------------------------------------------------------------------------

EXPIRED = b'{"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}\n'
BROKEN = b'{"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd is away"}}\n'


@pytest.mark.parametrize("piece", [EXPIRED, BROKEN, b'{"type": "MODIF', b"nonsense\n", b"[]\n", b"\n" * 1000])
async def test_what_breaks_a_watch_costs_one_reading_and_no_write(scene: Scene, piece: bytes) -> None:
    scene.board.goals.set(YES)
    await scene.wrote(1)
    scene.proxy.requests.clear()
    await scene.proxy.say(piece)
    scene.proxy.hang_up()
    await scene.world.patch({"metadata": {"labels": {"n": "1"}}})
    await scene.settled()
    assert (scene.writes, scene.proxy.asked("PATCH")) == (1, [])
    assert 1 <= len(scene.proxy.asked("GET")) <= 2
    scene.board.goals.set(NO)
    await scene.until(NO)
    await scene.wrote(2)


async def test_a_server_that_stops_answering_in_the_middle_of_a_watch_is_left(scene: Scene) -> None:
    """Nothing is closed and nothing comes: the edit is found when the watch is over by this host's clock."""
    scene.board.goals.set(YES)
    await scene.wrote(1)
    scene.proxy.fall_silent()
    await scene.world.patch({"status": {"conditions": [CONDITION]}}, "/status")
    await scene.until(YES)
    await scene.wrote(2)
    assert await scene.landed() == ["True", "False", "True"]
