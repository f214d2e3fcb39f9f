"""A replacement of the proxy while the second slot serves, by the real loops, in a host that is variables; agent
and proxies are killed at every step.

At each moment a request would be served: the slot that the redirect names has a proxy that is ready.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from agent.core import facts as f
from agent.core.goals import Advertise, RedirectGoal
from agent.core.proxy import Reading
from agent.core.reasons import Fault, Reason
from agent.core.replacement import Stage
from agent.core.slots import Slot
from agent.loops.board import Board, Waiter
from agent.loops.policy import PolicyLoop
from agent.loops.proxy import ProxyLoop
from agent.loops.replacement import ReplacementLoop
from agent.ports import Unanswered
from tests.core import world
from tests.core.world import SPEC
from tests.fakes.proxy_runtime import READY, STARTING, UID, MemoryHost, MemoryProxyRuntime
from tests.loops.test_proxy_replacement import NEW, OLD, READY_WITHIN, Disk, Killed, as_member

SLOTS = replace(SPEC, slots=True)


@dataclass(frozen=True)
class Lost:
    """So many requests from this one on are not answered. `acted`: they are carried out nevertheless."""

    first: int
    count: int
    acted: bool


class TwoSlots(Disk):
    """`standby`: the processes of the second slot, and `covers` the version that it starts. `named`: by the
    redirect. `unserved`: moments at which a request would have failed, once the host had served."""

    def __init__(self, bad: frozenset[str] = frozenset()) -> None:
        super().__init__(bad)
        self.standby = MemoryHost()
        self.covers, self.standby_runs = "", OLD  # the version of its next start, "": the current one
        self.bad_in_main: frozenset[str] = frozenset()  # versions that become ready in the standby alone
        self.named = Slot.MAIN
        self.served = False
        self.unserved: list[tuple[str, Slot]] = []
        self.turned: list[Slot] = []
        self.lost: Lost | None = None
        self.down = False  # no proxy starts any more
        self.requests = 0  # to the privileged helper, for a version

    async def cover(self, version: str) -> None:
        with self.answering():
            assert self.standby.running is None, "its version is set only while none runs"
            self.step(lambda: setattr(self, "covers", version))

    async def use(self, version: str) -> None:
        with self.answering():
            await super().use(version)
            self.covers = ""

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """The body is what the privileged helper does."""
        self.requests += 1
        lost = self.lost is not None and self.lost.first <= self.requests < self.lost.first + self.lost.count
        unanswered = Unanswered(Reason.PROXY_BINARY_UNUSABLE, "no answer")
        if lost and not (self.lost and self.lost.acted):
            raise unanswered
        yield
        if lost:
            raise unanswered

    def ready(self, slot: Slot) -> bool:
        host = self.host if slot is Slot.MAIN else self.standby
        return host.running is not None and self.works(slot)

    def works(self, slot: Slot) -> bool:
        if slot is Slot.MAIN:
            return self.runs not in self.bad | self.bad_in_main
        return self.standby_runs not in self.bad

    def turn(self, slot: Slot) -> None:
        """As the privileged helper does: only to a proxy that is ready."""
        if self.ready(slot) and slot is not self.named:
            self.named = slot
            self.turned.append(slot)

    def reboot(self) -> None:
        """No process is left, and neither is the record of the slot."""
        self.host.running = self.standby.running = None
        self.named, self.served = Slot.MAIN, False

    def look(self) -> None:
        serves = self.ready(self.named)
        if self.served and not serves:
            stage = "" if self.record is None else self.record.stage.value
            self.unserved.append((stage, self.named))
        self.served = self.served or serves


class Runtime(MemoryProxyRuntime):
    def __init__(self, disk: TwoSlots, slot: Slot) -> None:
        super().__init__(disk.host if slot is Slot.MAIN else disk.standby)
        self._disk, self._slot = disk, slot

    async def start(self) -> f.Process:
        while self._disk.down:
            await asyncio.sleep(1.0)
        if self._slot is Slot.MAIN:
            self._disk.runs = self._disk.current
        else:
            self._disk.standby_runs = self._disk.covers or self._disk.current
        return await super().start()

    async def inspect(self, process: f.Process) -> Reading:
        return READY if self._disk.works(self._slot) else STARTING


class Agent:
    """One life of an agent on that host."""

    def __init__(self, disk: TwoSlots, standby: bool = False, ready_within: float = READY_WITHIN) -> None:
        self.disk, self.board = disk, Board()
        self.spec = replace(SLOTS, standby=standby)
        self.replacement = ReplacementLoop(
            disk, self.spec, self.board, self.board.setter("replacement"), ready_within
        )
        self.advertised: list[Advertise] = []

    async def live(self, done: Callable[[], bool]) -> None:
        """Until `done`, or Killed."""
        board = self.board
        as_member(board)
        board.setter("workload")(world.workload("True"))
        loops = [
            PolicyLoop(self.spec, board, board.setter("agent")).run(),
            self.replacement.run(),
            self._redirect(),
        ]
        for slot, cell in ((Slot.MAIN, "proxy"), (Slot.STANDBY, "standby")):
            common = (Runtime(self.disk, slot), board, board.setter(cell), UID)
            loops.append(ProxyLoop(*common, lambda: 0.0, lambda: 0.0, 10.0, slot).run())
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            async with asyncio.timeout(300):
                while True:
                    for task in [task for task in tasks if task.done()]:
                        task.result()
                    if done():
                        break
                    self.disk.look()
                    await asyncio.sleep(0.05)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _redirect(self) -> None:
        board, waiter = self.board, Waiter(self.board.goals, self.board.facts)
        level = {"inbound": f.Level.ON, "outbound": f.Level.ON}
        while True:
            goals = board.goals.value
            for way in level:
                goal = getattr(goals, way)
                if goal is not RedirectGoal.HOLD:
                    level[way] = f.Level(goal.value)
            if goals.slot is not None:
                self.disk.turn(goals.slot)
            board.setter("redirect")(f.RedirectFact(level["inbound"], level["outbound"], slot=self.disk.named))
            if goals.advertise is not Advertise.HOLD and self.advertised[-1:] != [goals.advertise]:
                self.advertised.append(goals.advertise)
            await waiter.wait(0.5)

    def serves(self) -> bool:
        return self.board.goals.value.advertise is Advertise.YES

    def over(self) -> bool:
        """The replacement has ended, main serves again, and the standby has stopped, or stands by."""
        ended = self.disk.record is not None and self.disk.record.over and self.serves()
        rests = self.disk.ready(Slot.STANDBY) if self.spec.standby else self.disk.standby.running is None
        return ended and self.disk.named is Slot.MAIN and rests


async def upgraded(
    disk: TwoSlots, killed_at: tuple[int, bool] | None = None, kept: bool = False, reboots: bool = False
) -> int:
    """The whole of it; the number of agents that it took. `reboots`: the host does, with the agent."""
    agent = Agent(disk, kept)
    await agent.live(agent.serves)
    disk.killed_at = killed_at
    return await asked_and_over(disk, kept, Agent.over, reboots)


async def asked_and_over(disk: TwoSlots, kept: bool, over: Callable[[Agent], bool], reboots: bool = False) -> int:
    """One agent after the other until it is over; the first that serves is asked to begin. Their number."""
    agents, asked = 1, False
    agent = Agent(disk, kept)

    def begin_and_end() -> bool:
        nonlocal asked
        if not asked and agent.serves() and disk.record is None:
            asked = True
            agent.replacement.ask(NEW, OLD, covered=True)
        return over(agent)

    while True:
        try:
            await agent.live(begin_and_end)
        except Killed:
            agents += 1
            if reboots:
                disk.reboot()
            asked = asked and disk.record is not None
            agent = Agent(disk, kept)
            continue
        assert reboots or Advertise.NO not in agent.advertised
        return agents


async def test_nothing_fails_and_the_host_stays_ready() -> None:
    disk = TwoSlots()
    assert await upgraded(disk) == 1
    assert disk.record is not None and disk.record.stage is Stage.DONE
    assert (disk.current, disk.runs, disk.host.started, disk.standby.started) == (NEW, NEW, 2, 1)
    assert disk.turned == [Slot.STANDBY, Slot.MAIN]
    assert disk.unserved == []


async def test_a_version_that_never_becomes_ready_touches_nothing() -> None:
    disk = TwoSlots(bad=frozenset({NEW}))
    await upgraded(disk)
    assert disk.record is not None and disk.record.stage is Stage.BACK_AGAIN
    assert (disk.current, disk.runs, disk.host.started, disk.turned) == (OLD, OLD, 1, [])
    assert disk.unserved == []


async def test_a_version_that_crashes_is_given_up_before_its_time_is_over() -> None:
    disk = TwoSlots(bad=frozenset({NEW}))
    agent = Agent(disk)
    await agent.live(agent.serves)
    agent, began = Agent(disk, ready_within=1000.0), asyncio.get_running_loop().time()
    agent.replacement.ask(NEW, OLD, covered=True)

    def crash() -> bool:
        if disk.standby.running is not None:
            disk.standby.die(Fault(Reason.PROXY_CRASHED, "exit 1"))
        return agent.over()

    await agent.live(crash)
    assert disk.record is not None and (disk.record.stage, disk.covers) == (Stage.BACK_AGAIN, "")
    assert asyncio.get_running_loop().time() - began < 1000.0
    assert disk.unserved == []


STEPS = {False: 7, True: 6}  # writes and swaps of a covered upgrade, and of one that touches nothing


@pytest.mark.parametrize("kept", [False, True], ids=["alone", "kept"])
@pytest.mark.parametrize("happens", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("bad", "number"), [(bad, number) for bad, count in STEPS.items() for number in range(1, count + 1)]
)
async def test_with_the_agent_killed_at_each_step(bad: bool, number: int, happens: bool, kept: bool) -> None:
    """A standby that is kept has the version of main in the end."""
    disk = TwoSlots(bad=frozenset({NEW}) if bad else frozenset())
    assert await upgraded(disk, (number, happens), kept) == 2
    assert disk.covers == ""
    assert not kept or disk.standby_runs == disk.current
    end, version = (Stage.BACK_AGAIN, OLD) if bad else (Stage.DONE, NEW)
    assert disk.record is not None and disk.record.stage is end
    assert (disk.current, disk.runs, disk.named) == (version, version, Slot.MAIN)
    assert disk.unserved == []


@pytest.mark.parametrize("happens", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("bad", "number"), [(bad, number) for bad, count in STEPS.items() for number in range(1, count + 1)]
)
async def test_with_a_reboot_at_each_step(bad: bool, number: int, happens: bool) -> None:
    """It ends as it would have, and the host serves by whichever proxy is ready first, also before that."""
    disk = TwoSlots(bad=frozenset({NEW}) if bad else frozenset())
    assert await upgraded(disk, (number, happens), reboots=True) == 2
    end, version = (Stage.BACK_AGAIN, OLD) if bad else (Stage.DONE, NEW)
    assert disk.record is not None and disk.record.stage is end
    assert (disk.current, disk.runs, disk.named, disk.covers) == (version, version, Slot.MAIN, "")
    assert disk.unserved == []


async def test_it_has_no_more_steps_than_were_tried() -> None:
    for bad, count in STEPS.items():
        disk = TwoSlots(bad=frozenset({NEW}) if bad else frozenset())
        await upgraded(disk)
        assert disk.steps == count


@pytest.mark.parametrize("stage", [Stage.COVERING, Stage.LEAVING, Stage.STARTING], ids=lambda stage: stage.value)
@pytest.mark.parametrize("slot", list(Slot), ids=lambda slot: slot.value)
async def test_with_a_proxy_killed_in_each_stage(stage: Stage, slot: Slot) -> None:
    """It ends, and main serves: what ended is started again, and the other serves in the meantime."""
    disk = TwoSlots()
    killed = False
    agent = Agent(disk)
    await agent.live(agent.serves)
    agent.replacement.ask(NEW, OLD, covered=True)

    def kill_once() -> bool:
        nonlocal killed
        host = disk.host if slot is Slot.MAIN else disk.standby
        at = disk.record is not None and disk.record.stage is stage
        if at and not killed and host.running is not None:
            killed = True
            host.die(Fault(Reason.PROXY_CRASHED, "killed"))
        return agent.over()

    agent = Agent(disk)
    await agent.live(kill_once)
    assert disk.record is not None and disk.record.over
    assert disk.named is Slot.MAIN and disk.ready(Slot.MAIN)


async def test_a_standby_takes_over_when_main_dies_and_main_comes_back() -> None:
    disk = TwoSlots()
    agent = Agent(disk, standby=True)
    await agent.live(lambda: agent.serves() and disk.ready(Slot.STANDBY))
    agent = Agent(disk, standby=True)
    died = False

    def once() -> bool:
        nonlocal died
        standby = agent.board.facts.value.standby
        if not died and agent.serves() and standby is not f.UNKNOWN and standby.state is f.ProxyState.READY:
            died = True
            disk.host.die(Fault(Reason.PROXY_CRASHED, "killed"))
        return died and disk.turned == [Slot.STANDBY, Slot.MAIN] and disk.ready(Slot.MAIN)

    await agent.live(once)
    assert disk.standby.running is not None, "it is kept"
    with contextlib.suppress(IndexError):
        assert disk.unserved[-1][1] is Slot.MAIN, "only until the redirect turned"


@pytest.mark.parametrize("kept", [False, True], ids=["alone", "kept"])
async def test_a_version_that_works_in_the_standby_alone_is_withdrawn_from_it(kept: bool) -> None:
    """It is ready there, and not in main: main gets the previous one, and so does a standby that is kept."""
    disk = TwoSlots()
    disk.bad_in_main = frozenset({NEW})
    await upgraded(disk, kept=kept)
    assert disk.record is not None and disk.record.stage is Stage.BACK_AGAIN
    assert (disk.current, disk.runs, disk.covers) == (OLD, OLD, "")
    assert not kept or disk.standby_runs == OLD
    assert disk.unserved == []
