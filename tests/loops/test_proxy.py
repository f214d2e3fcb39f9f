import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.core.facts import UNKNOWN, Control, ProxyFact, ProxyState
from agent.core.goals import Goals, ProxyGoal
from agent.core.reasons import Fault, Reason
from agent.loops.board import Board
from agent.loops.proxy import POLL_STEADY, ProxyLoop
from agent.ports import Trouble
from tests.fakes.proxy_runtime import (
    NOTHING_READ,
    PROCESS,
    READY,
    STARTING,
    UID,
    ZOMBIE,
    MemoryHost,
    MemoryProxyRuntime,
)
from tests.loops.recording import ShiftedClock, recorded
from tests.loops.running import running

HOLD, RUNNING, DRAINED, STOPPED = ProxyGoal.HOLD, ProxyGoal.RUNNING, ProxyGoal.DRAINED, ProxyGoal.STOPPED
GRACE = 120.0
CRASH = Fault(Reason.PROXY_CRASHED, "exit 3")


class Scene(ShiftedClock):
    def __init__(self, survivor: bool = False, goal: ProxyGoal = HOLD) -> None:
        self.runtime = MemoryProxyRuntime(MemoryHost(PROCESS if survivor else None))
        self.board = Board()
        self.board.goals.set(Goals(proxy=goal))
        self.told: list[ProxyFact] = []
        self.loop = ProxyLoop(
            self.runtime, self.board, recorded("proxy", self.told), UID, self.wall_now, lambda: 1.0, GRACE
        )

    def want(self, goal: ProxyGoal) -> None:
        self.board.goals.set(Goals(proxy=goal))

    def crash(self) -> None:
        self.runtime.host.die(CRASH)

    async def crash_at_once(self) -> None:
        """Wait for the next start, and crash."""
        await self.host.born.wait()
        self.host.born.clear()
        self.crash()

    @property
    def host(self) -> MemoryHost:
        return self.runtime.host

    @property
    def fact(self) -> ProxyFact:
        return self.told[-1]

    @property
    def reason(self) -> Reason | None:
        return self.fact.fault.reason if self.fact.fault else None

    @property
    def states(self) -> list[ProxyState]:
        return [fact.state for fact in self.told]

    @asynccontextmanager
    async def playing(self, lasting: float = 0.01) -> AsyncIterator["Scene"]:
        async with running(self.loop.run()):
            await asyncio.sleep(lasting)
            yield self


async def test_without_a_process_and_on_hold_it_says_so_and_starts_nothing() -> None:
    async with Scene().playing(lasting=100) as scene:
        assert scene.told == [ProxyFact(ProxyState.STOPPED, fault=Fault(Reason.PROXY_STOPPED))]
        assert scene.host.started == 0


@pytest.mark.parametrize("goal", [HOLD, RUNNING])
async def test_a_process_that_runs_is_adopted_read_and_left_alone(goal: ProxyGoal) -> None:
    async with Scene(survivor=True, goal=goal).playing(lasting=100) as scene:
        expected = ProxyFact(ProxyState.READY, PROCESS, True, 3600.0, in_flight=0, control=Control(True))
        assert scene.told == [expected]
        assert {name for _, name in scene.runtime.calls} == {"adopt", "inspect"}


async def test_it_starts_what_is_wanted_and_polls_fast_until_it_is_ready() -> None:
    scene = Scene(goal=RUNNING)
    scene.runtime.reading = STARTING
    async with scene.playing(lasting=1.1):
        assert scene.reason is Reason.PROXY_UNCERTIFIED
        scene.runtime.reading = READY
        await asyncio.sleep(0.2)
        assert scene.fact.state is ProxyState.READY
        assert [fact.launching for fact in scene.told] == [False, True, False, False, False]
        assert scene.states[2:] == [ProxyState.STARTING, ProxyState.STARTING, ProxyState.READY]
        fast = len(scene.runtime.called("inspect"))
        await asyncio.sleep(100)
        assert len(scene.runtime.called("inspect")) == fast + 10


async def test_a_death_is_noticed_when_it_happens() -> None:
    async with Scene(goal=RUNNING).playing(lasting=5) as scene:
        scene.crash()
        await asyncio.sleep(0.001)
        assert (scene.fact.state, scene.fact.fault) == (ProxyState.STOPPED, CRASH)


async def test_on_hold_what_died_stays_dead() -> None:
    async with Scene(survivor=True).playing() as scene:
        scene.crash()
        await asyncio.sleep(1000)
        assert scene.host.started == 0
        assert scene.fact.fault == Fault(Reason.PROXY_CRASHED, "exit status unknown: adopted")


async def test_crashes_are_answered_slower_and_slower_and_never_slower_than_30_s() -> None:
    scene = Scene(goal=RUNNING)
    async with scene.playing():
        for _ in range(10):
            await scene.crash_at_once()
        await asyncio.sleep(40)
        assert scene.fact.restarts == 10
    starts = scene.runtime.called("start")
    gaps = [round(b - a, 1) for a, b in itertools.pairwise(starts)]
    assert gaps == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


async def test_a_proxy_that_was_up_for_long_is_started_again_at_once() -> None:
    scene = Scene(goal=RUNNING)
    async with scene.playing():
        for _ in range(6):
            await scene.crash_at_once()
        await asyncio.sleep(700)
        scene.crash()
        await asyncio.sleep(0.21)
        assert scene.host.running is not None


async def test_a_start_that_fails_is_told_and_tried_again_without_spinning() -> None:
    scene = Scene(goal=RUNNING)
    scene.runtime.trouble = Trouble(Reason.PROXY_BINARY_UNUSABLE, "gone")
    async with scene.playing(lasting=600):
        assert scene.fact == ProxyFact(ProxyState.STOPPED, fault=Fault(Reason.PROXY_BINARY_UNUSABLE, "gone"))
        assert 20 < len(scene.runtime.called("start")) < 40
        scene.runtime.trouble = None
        await asyncio.sleep(30)
        assert scene.fact.state is ProxyState.READY


async def test_a_start_whose_process_ended_before_it_was_seen_counts_as_a_restart() -> None:
    """Or a replacement by a version that ends at once would be given up only when its whole time has passed."""
    scene = Scene(goal=RUNNING)
    scene.runtime.trouble = Trouble(Reason.PROXY_CRASHED, "exit 3")
    async with scene.playing(lasting=30):
        assert scene.fact.restarts == len(scene.runtime.called("start")) > 3


async def test_a_goal_that_turns_while_the_gate_waits_starts_nothing() -> None:
    scene = Scene(goal=RUNNING)
    scene.runtime.gate.clear()
    async with scene.playing(lasting=3):
        scene.want(HOLD)
        await asyncio.sleep(1)
        scene.runtime.gate.set()
        await asyncio.sleep(100)
        assert scene.host.started == 0
        scene.want(RUNNING)
        await asyncio.sleep(1)
        assert scene.fact.state is ProxyState.READY


async def test_one_reading_that_fails_changes_nothing_and_three_do() -> None:
    async with Scene(survivor=True).playing() as scene:
        before = scene.fact
        scene.runtime.reading = NOTHING_READ
        await asyncio.sleep(4)
        assert scene.fact == before
        await asyncio.sleep(2)
        assert scene.fact == dataclasses.replace(
            before, state=ProxyState.UNREADABLE, in_flight=None, fault=scene.fact.fault
        )
        assert scene.reason is Reason.PROXY_UNREADABLE
        scene.runtime.reading = READY
        await asyncio.sleep(2)
        assert scene.fact == before


async def test_readings_that_fail_now_and_then_change_nothing() -> None:
    async with Scene(survivor=True).playing() as scene:
        for _ in range(5):
            for reading in (NOTHING_READ, NOTHING_READ, READY):
                scene.runtime.reading = reading
                await asyncio.sleep(2)
        assert len(scene.told) == 1


async def test_an_adopted_proxy_that_cannot_be_read_is_told_of_at_once() -> None:
    scene = Scene(survivor=True)
    scene.runtime.reading = NOTHING_READ
    async with scene.playing():
        assert scene.states == [ProxyState.UNREADABLE]


async def test_a_known_fault_is_told_at_the_first_reading() -> None:
    async with Scene(survivor=True).playing() as scene:
        scene.runtime.reading = dataclasses.replace(READY, inbound_listening=False)
        await asyncio.sleep(2)
        assert (scene.fact.state, scene.reason) == (ProxyState.NOT_READY, Reason.PROXY_LISTENER_ABSENT)


async def test_a_clock_that_jumps_makes_no_certificate_run_out() -> None:
    scene = Scene(survivor=True)
    scene.wall = 1000.0
    scene.runtime.reading = dataclasses.replace(READY, certificate_expires=2000.0)
    async with scene.playing(lasting=10):
        scene.wall = 100_000.0
        await asyncio.sleep(10)
        assert scene.told == [
            ProxyFact(ProxyState.READY, PROCESS, True, 1000.0, in_flight=0, control=Control(True))
        ]
        await asyncio.sleep(1000)
        assert scene.reason is Reason.PROXY_CERTIFICATE_EXPIRED


async def test_a_certificate_that_is_renewed_is_measured_anew() -> None:
    async with Scene(survivor=True).playing() as scene:
        scene.runtime.reading = dataclasses.replace(READY, certificate_expires=7200.0)
        await asyncio.sleep(2)
        assert [fact.certificate_expires_at for fact in scene.told] == [3600.0, 7200.0]


@pytest.mark.parametrize("uncertified", [STARTING, ZOMBIE])
async def test_a_proxy_without_a_certificate_for_30_s_is_replaced(uncertified: object) -> None:
    scene = Scene(goal=RUNNING)
    scene.runtime.reading = STARTING if uncertified is STARTING else ZOMBIE
    async with scene.playing(lasting=29):
        assert not scene.runtime.called("kill")
        await asyncio.sleep(3)
        assert len(scene.runtime.called("kill")) == 1
        assert scene.host.started == 2
        assert Reason.PROXY_UNCERTIFIED in [fact.fault.reason for fact in scene.told if fact.fault]
        assert scene.fact.restarts == 1


async def test_a_proxy_whose_worker_died_is_replaced() -> None:
    scene = Scene(goal=RUNNING)
    async with scene.playing():
        scene.runtime.reading = dataclasses.replace(READY, worker_lost=True)
        await asyncio.sleep(POLL_STEADY)
        scene.runtime.reading = READY
        await asyncio.sleep(3)
        assert scene.host.started == 2
        assert Reason.PROXY_WORKER_DEAD in [fact.fault.reason for fact in scene.told if fact.fault]
        assert scene.fact.state is ProxyState.READY


async def test_what_systemd_restarts_is_taken_up_without_a_start() -> None:
    scene = Scene(goal=HOLD)
    async with scene.playing():
        await asyncio.sleep(1)
        process = scene.host.restart_by_itself()
        await asyncio.sleep(1)
        assert (scene.fact.process, scene.fact.state) == (process, ProxyState.READY)
        assert not scene.runtime.called("start")


async def test_a_host_that_left_wants_no_start_that_still_waits() -> None:
    scene = Scene(goal=RUNNING)
    scene.runtime.gate.clear()
    async with scene.playing():
        scene.board.goals.set(Goals(proxy=STOPPED))
        await asyncio.sleep(1)
        assert scene.runtime.called("abandon")
        assert scene.host.started == 0


@pytest.mark.parametrize("goal", [HOLD, DRAINED])
async def test_and_only_where_a_proxy_is_wanted(goal: ProxyGoal) -> None:
    scene = Scene(survivor=True, goal=goal)
    scene.runtime.reading = ZOMBIE
    async with scene.playing(lasting=300):
        assert not scene.runtime.called("kill")


async def test_a_proxy_that_cannot_be_read_is_never_taken_for_uncertified() -> None:
    scene = Scene(survivor=True, goal=RUNNING)
    scene.runtime.reading = dataclasses.replace(ZOMBIE, certificate_expires=UNKNOWN)
    async with scene.playing(lasting=300):
        assert not scene.runtime.called("kill")


async def test_a_proxy_that_forbids_its_readings_once_it_is_certified_is_left_alone() -> None:
    """It was read as uncertified while it started; its state since then is unknown."""
    scene = Scene(goal=RUNNING)
    scene.runtime.reading = STARTING
    async with scene.playing():
        await asyncio.sleep(1)
        scene.runtime.reading = dataclasses.replace(
            READY, live=UNKNOWN, ready=UNKNOWN, certificate_expires=UNKNOWN
        )
        await asyncio.sleep(300)
        assert scene.fact.state is ProxyState.UNREADABLE
        assert not scene.runtime.called("kill")


async def test_drained_keeps_it_running_and_counts_what_is_in_flight() -> None:
    scene = Scene(survivor=True, goal=DRAINED)
    async with scene.playing():
        for count in (3, 2, 0):
            scene.runtime.reading = dataclasses.replace(READY, in_flight=count)
            await asyncio.sleep(0.5)
        assert [fact.in_flight for fact in scene.told] == [0, 3, 2, 0]
        assert scene.host.running == PROCESS


async def test_a_drained_proxy_that_dies_is_not_started_again() -> None:
    async with Scene(survivor=True, goal=DRAINED).playing() as scene:
        scene.crash()
        await asyncio.sleep(100)
        assert scene.host.started == 0


async def test_stopped_is_sigterm_and_no_fault() -> None:
    async with Scene(survivor=True, goal=STOPPED).playing() as scene:
        assert scene.states == [ProxyState.READY, ProxyState.STOPPING, ProxyState.STOPPED]
        assert scene.fact.fault == Fault(Reason.PROXY_STOPPED)
        assert not scene.runtime.called("kill")


async def test_a_stop_that_is_ignored_ends_in_sigkill_after_the_grace_period() -> None:
    scene = Scene(survivor=True, goal=STOPPED)
    scene.runtime.deaf, scene.runtime.carries = True, 1
    async with scene.playing(lasting=GRACE + 9):
        assert list(dict.fromkeys(scene.states)) == [ProxyState.READY, ProxyState.STOPPING]
        await asyncio.sleep(2)
        assert scene.fact.state is ProxyState.STOPPED
    assert scene.runtime.called("kill") == [pytest.approx(GRACE + 10)]


async def test_and_soon_if_it_never_had_a_certificate() -> None:
    scene = Scene(goal=RUNNING)
    scene.runtime.reading, scene.runtime.deaf = STARTING, True
    async with scene.playing(lasting=1):
        scene.want(STOPPED)
        await asyncio.sleep(2.1)
        assert scene.fact.state is ProxyState.STOPPED


async def test_a_certificate_that_came_a_moment_ago_earns_the_grace_period() -> None:
    scene = Scene(goal=RUNNING)
    scene.runtime.reading, scene.runtime.deaf, scene.runtime.carries = STARTING, True, 1
    async with scene.playing(lasting=20):
        scene.runtime.reading = READY
        scene.want(STOPPED)
        await asyncio.sleep(100)
        assert scene.fact.state is ProxyState.STOPPING


async def test_what_is_wanted_again_while_it_stops_is_started_anew_at_once() -> None:
    scene = Scene(survivor=True, goal=STOPPED)
    scene.runtime.deaf, scene.runtime.carries = True, 1
    async with scene.playing(lasting=5):
        scene.want(RUNNING)
        await asyncio.sleep(1)
        assert scene.fact.state is ProxyState.STOPPING
        scene.host.die(Fault(Reason.PROXY_STOPPED))
        await asyncio.sleep(0.1)
        assert (scene.fact.state, scene.fact.restarts) == (ProxyState.READY, 0)


async def test_a_cancelled_loop_leaves_the_proxy_as_it_is() -> None:
    scene = Scene(goal=RUNNING)
    async with scene.playing(lasting=5):
        process = scene.host.running
    assert process is not None
    assert scene.host.running == process
    assert {name for _, name in scene.runtime.calls} == {"adopt", "start", "inspect"}
