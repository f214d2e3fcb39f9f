"""A replacement of the proxy by the real loops, in a host that is variables; the agent is killed at every step."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from agent.core import facts as f
from agent.core.goals import Advertise, RedirectGoal
from agent.core.proxy import Reading
from agent.core.reasons import Fault, Reason
from agent.core.replacement import Replacement, Stage
from agent.loops.board import Board, Waiter
from agent.loops.policy import PolicyLoop
from agent.loops.proxy import ProxyLoop
from agent.loops.replacement import ReplacementLoop
from agent.ports import Trouble
from tests.core import world
from tests.core.world import SPEC
from tests.fakes.proxy_runtime import READY, STARTING, UID, MemoryHost, MemoryProxyRuntime

OLD, NEW = "2.360.0", "2.366.0"
READY_WITHIN = 5.0


class Killed(BaseException):
    """kill -9 of the agent, here."""


class Disk:
    """What outlives the agent: the processes, the record, the current version. `killed_at`: the number of the
    write or swap at which the agent dies, and whether that still happens."""

    def __init__(self, bad: frozenset[str] = frozenset()) -> None:
        self.host = MemoryHost()
        self.record: Replacement | None = None
        self.current, self.runs = OLD, OLD
        self.bad = bad  # versions that never become ready
        self.swappable = True
        self.killed_at: tuple[int, bool] | None = None
        self.steps = 0
        self.mesh_ready = "False"

    def step(self, act: Callable[[], None]) -> None:
        self.steps += 1
        number, happens = self.killed_at or (0, False)
        if number != self.steps:
            act()
            return
        if happens:
            act()
        raise Killed

    # ports.ReplacementStore
    def recall(self, now: float) -> Replacement | None:
        return self.record  # its clock is that of each agent here

    def remember(self, change: Replacement) -> None:
        self.step(lambda: setattr(self, "record", change))

    async def cover(self, version: str) -> None:
        raise AssertionError("this host has one slot")

    async def use(self, version: str) -> None:
        if not self.swappable:
            raise Trouble(Reason.PROXY_BINARY_UNUSABLE, "it is gone")
        assert self.host.running is None, "the binaries are swapped only while nothing runs"
        self.step(lambda: setattr(self, "current", version))


class Runtime(MemoryProxyRuntime):
    def __init__(self, disk: Disk) -> None:
        super().__init__(disk.host)
        self._disk = disk

    async def start(self) -> f.Process:
        self._disk.runs = self._disk.current
        return await super().start()

    async def inspect(self, process: f.Process) -> Reading:
        return STARTING if self._disk.runs in self._disk.bad else READY


def as_member(board: Board) -> None:
    """All but what the loops of these tests say themselves."""
    for name, fact in (
        ("identity", world.identity("usable")),
        ("probes", world.probes("pass")),
        ("lease", world.lease(1)),
        ("anchors", world.ANCHORED),
        ("addresses", world.PRESENT),
    ):
        board.setter(name)(fact)
    board.phase.set(f.Phase(f.PhaseKind.MEMBER, asyncio.get_running_loop().time()))


class Agent:
    """One life of an agent on that host."""

    def __init__(self, disk: Disk, ready_within: float = READY_WITHIN) -> None:
        self.disk, self.board = disk, Board()
        self.runtime = Runtime(disk)
        self.replacement = ReplacementLoop(disk, SPEC, self.board, self.board.setter("replacement"), ready_within)

    async def live(self, done: Callable[[], bool]) -> None:
        """Until `done`, or Killed."""
        board = self.board
        as_member(board)
        loops = [
            PolicyLoop(SPEC, board, board.setter("agent")).run(),
            ProxyLoop(self.runtime, board, board.setter("proxy"), UID, lambda: 0.0, lambda: 0.0, grace=10.0).run(),
            self.replacement.run(),
            self._rest_of_the_host(),
        ]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            async with asyncio.timeout(200):
                while not done():
                    finished = [task for task in tasks if task.done()]
                    for task in finished:
                        task.result()
                    await asyncio.sleep(0.2)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _rest_of_the_host(self) -> None:
        """Redirect and mesh do at once what the goals say; the slices follow a second later."""
        board, waiter = self.board, Waiter(self.board.goals, self.board.facts)
        level = {"inbound": f.Level.ON, "outbound": f.Level.ON}
        heard: float | None = None
        while True:
            goals, now = board.goals.value, asyncio.get_running_loop().time()
            for way in level:
                goal = getattr(goals, way)
                if goal is not RedirectGoal.HOLD:
                    level[way] = f.Level(goal.value)
            board.setter("redirect")(f.RedirectFact(level["inbound"], level["outbound"]))
            if goals.advertise is not Advertise.HOLD:
                self.disk.mesh_ready = "True" if goals.advertise is Advertise.YES else "False"
            seen = world.workload(self.disk.mesh_ready)
            assert isinstance(seen, f.WorkloadFact)
            if self.disk.mesh_ready == "True":
                heard = None
                fact = f.WorkloadFact(seen.seen, None)
            else:
                heard = now if heard is None else heard
                fact = f.WorkloadFact(seen.seen, heard)
            board.setter("workload")(fact)
            board.setter("slices")(
                f.SlicesFact(False, heard + 1) if heard is not None and now >= heard + 1 else f.SlicesFact()
            )
            await waiter.wait(0.5)

    def serves(self) -> bool:
        return self.board.goals.value.advertise is Advertise.YES

    def over(self) -> bool:
        return self.disk.record is not None and self.disk.record.over and self.serves()


async def upgraded(disk: Disk, killed_at: tuple[int, bool] | None) -> int:
    """The whole of it; the number of agents that it took."""
    agent = Agent(disk)
    await agent.live(agent.serves)
    disk.killed_at = killed_at
    agents, asked = 1, False

    def begin_and_end() -> bool:
        nonlocal asked
        if not asked and agent.serves():
            asked = True
            agent.replacement.ask(NEW, OLD)
        return agent.over()

    while True:
        agent = Agent(disk)
        try:
            await agent.live(begin_and_end)
        except Killed:
            agents += 1
            if disk.record is None:
                asked = False  # no agent received it, so the operator asks again
            continue
        return agents


async def test_proxy_upgrade() -> None:
    disk = Disk()
    assert await upgraded(disk, None) == 1
    assert disk.record is not None and disk.record.stage is Stage.DONE
    assert (disk.current, disk.runs, disk.host.started) == (NEW, NEW, 2)


async def test_proxy_upgrade_goes_back_by_itself() -> None:
    disk = Disk(bad=frozenset({NEW}))
    await upgraded(disk, None)
    assert disk.record is not None and disk.record.stage is Stage.BACK_AGAIN
    assert (disk.current, disk.runs, disk.mesh_ready) == (OLD, OLD, "True")


STEPS = {False: 4, True: 7}  # writes and swaps of an upgrade, and of one that goes back


@pytest.mark.parametrize("happens", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("bad", "number"), [(bad, number) for bad, count in STEPS.items() for number in range(1, count + 1)]
)
async def test_proxy_upgrade_with_the_agent_killed_at_each_step(bad: bool, number: int, happens: bool) -> None:
    disk = Disk(bad=frozenset({NEW}) if bad else frozenset())
    assert await upgraded(disk, (number, happens)) == 2
    end, version = (Stage.BACK_AGAIN, OLD) if bad else (Stage.DONE, NEW)
    assert disk.record is not None and disk.record.stage is end
    assert (disk.current, disk.runs, disk.mesh_ready) == (version, version, "True")


async def test_proxy_upgrade_has_no_more_steps_than_were_tried() -> None:
    for bad, count in STEPS.items():
        disk = Disk(bad=frozenset({NEW}) if bad else frozenset())
        await upgraded(disk, None)
        assert disk.steps == count


async def test_proxy_that_cannot_be_swapped_is_started_again_as_it_was() -> None:
    disk = Disk()
    disk.swappable = False
    await upgraded(disk, None)
    assert disk.record is not None and disk.record.stage is Stage.BACK_AGAIN and disk.record.detail == "it is gone"
    assert (disk.current, disk.runs) == (OLD, OLD)


async def test_proxy_upgrade_is_refused_while_another_is_under_way() -> None:
    disk = Disk()
    agent = Agent(disk)

    def both() -> bool:
        if not agent.serves():
            return False
        agent.replacement.ask(NEW, OLD)
        with pytest.raises(Trouble):
            agent.replacement.ask(NEW, OLD)
        return True

    await agent.live(both)


def started(disk: Disk) -> Disk:
    """The new version was started by an agent that has gone since."""
    disk.record = Replacement(NEW, OLD, Stage.STARTING, since=asyncio.get_running_loop().time())
    disk.current = disk.runs = NEW
    return disk


async def test_proxy_upgrade_has_no_more_time_by_agents_that_come_and_go() -> None:
    disk, lives = started(Disk(bad=frozenset({NEW}))), 0
    while disk.record is not None and not disk.record.over:
        lives += 1
        agent = Agent(disk, ready_within=60.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(13):
                await agent.live(agent.over)
    assert disk.record is not None and disk.record.stage is Stage.BACK_AGAIN
    assert lives in (5, 6), "a minute in all"


async def test_proxy_that_became_ready_while_no_agent_was_there_is_not_taken_back() -> None:
    disk = started(Disk())
    await asyncio.sleep(300)
    agent = Agent(disk, ready_within=60.0)
    await agent.live(agent.over)
    assert disk.record is not None and disk.record.stage is Stage.DONE


async def test_proxy_that_crashes_while_it_is_drained_is_not_taken_for_the_new_one() -> None:
    disk = Disk()
    agent = Agent(disk)
    asked = crashed = False

    def step() -> bool:
        nonlocal asked, crashed
        if agent.serves() and not asked:
            asked = True
            agent.replacement.ask(NEW, OLD)
        elif asked and not crashed and disk.host.running is not None:
            crashed = True
            disk.host.die(Fault(Reason.PROXY_CRASHED, "killed by SIGKILL"))
        return agent.over()

    await agent.live(step)
    assert crashed and disk.runs == NEW
