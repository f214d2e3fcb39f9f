import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.core.facts import UNKNOWN, Level, Maybe, RedirectFact
from agent.core.goals import Goals, RedirectGoal
from agent.core.reasons import Fault, Reason
from agent.loops.board import Board
from agent.loops.redirect import PACE, RECHECK, REPAIRS, TRIES, WINDOW, RedirectLoop
from agent.ports import LiveRedirect, Trouble
from tests.fakes.redirector import MemoryRedirector
from tests.loops.running import running

OFF, RELEASED, BLOCK, ON, PARTIAL = Level.OFF, Level.RELEASED, Level.BLOCK, Level.ON, Level.PARTIAL
HOLD = RedirectGoal.HOLD
FAILED = Trouble(Reason.REDIRECT_FAILED, "nft is tired")


class Scene:
    def __init__(
        self, inbound: Level = OFF, outbound: Level = OFF, kernel: type[MemoryRedirector] = MemoryRedirector
    ) -> None:
        self.kernel = kernel(LiveRedirect(inbound, outbound))
        self.board = Board()
        self.told: list[RedirectFact] = []
        self.loop = RedirectLoop(self.kernel, self.board, self.publish, lambda: 0.0)

    def publish(self, fact: RedirectFact) -> None:
        if not self.told or fact != self.told[-1]:
            self.told.append(fact)
        self.board.setter("redirect")(fact)

    def goals(self, inbound: RedirectGoal, outbound: RedirectGoal = HOLD) -> None:
        self.board.goals.set(Goals(inbound=inbound, outbound=outbound))

    def break_helper(self, trouble: Trouble | None = FAILED) -> None:
        self.kernel.trouble = trouble

    @asynccontextmanager
    async def playing(self) -> AsyncIterator["Scene"]:
        async with running(self.loop.run()):
            await asyncio.sleep(0.01)
            yield self

    @property
    def applied(self) -> list[str]:
        return [call for call in self.kernel.calls if call != "check"]


def fact(inbound: Maybe[Level], outbound: Maybe[Level], fault: Fault | None = None) -> RedirectFact:
    return RedirectFact(inbound, outbound, fault)


async def test_at_the_start_it_looks_tells_and_touches_nothing() -> None:
    async with Scene(ON, BLOCK).playing() as scene:
        assert scene.told == [fact(ON, BLOCK)]
        assert scene.kernel.calls == ["check"]


CLOSED = Fault(Reason.FIREWALL_CLOSED, "inet t input: policy drop", "nft insert rule inet t input accept")


async def test_what_the_hosts_own_firewall_does_is_told_when_rules_change_and_goes_when_it_is_over() -> None:
    scene = Scene(ON, ON)
    scene.kernel.watched, scene.kernel.wall = True, CLOSED
    async with scene.playing():
        await asyncio.sleep(2 * PACE)
        assert scene.told[-1] == RedirectFact(ON, ON, firewall=CLOSED)
        scene.kernel.wall = None
        scene.kernel.changed.set()
        await asyncio.sleep(3 * PACE)
        assert scene.told[-1] == fact(ON, ON)


async def test_a_firewall_that_cannot_be_read_is_unclear_and_nothing_is_asked_while_the_port_is_closed() -> None:
    scene = Scene(BLOCK, ON)
    scene.kernel.wall = CLOSED
    async with scene.playing():
        await asyncio.sleep(2 * RECHECK)
        assert scene.told[-1] == fact(BLOCK, ON)
        scene.kernel.live = LiveRedirect(ON, ON)
        await asyncio.sleep(2 * RECHECK)
        assert scene.told[-1] == RedirectFact(ON, ON, firewall=CLOSED)
        scene.kernel.wall = FAILED
        await asyncio.sleep((TRIES + 1) * (RECHECK + PACE))
        assert scene.told[-1].firewall == Fault(Reason.FIREWALL_UNCLEAR, FAILED.fault.detail)


async def test_goals_are_reached_without_a_look_in_between() -> None:
    async with Scene().playing() as scene:
        scene.goals(RedirectGoal.ON, RedirectGoal.RELEASED)
        await asyncio.sleep(0.01)
        assert scene.told == [fact(OFF, OFF), fact(ON, RELEASED)]
        assert scene.kernel.calls == ["check", "on/released"]


async def test_what_is_about_to_end_is_not_counted_on_while_it_ends() -> None:
    """Else an identity that comes back now would find a redirect as intended, and a host would be Ready while its
    port is about to close."""
    async with Scene(ON, ON).playing() as scene:
        scene.kernel.hang = True
        scene.goals(RedirectGoal.BLOCK, RedirectGoal.ON)
        await asyncio.sleep(0.01)
        assert scene.told == [fact(ON, ON), fact(UNKNOWN, ON)]


async def test_reached_goals_are_left_alone() -> None:
    scene = Scene(ON, ON)
    scene.goals(RedirectGoal.ON, RedirectGoal.ON)
    async with scene.playing():
        await asyncio.sleep(10 * RECHECK)
        assert scene.applied == []
        assert scene.told == [fact(ON, ON)]


@pytest.mark.parametrize(
    ("live", "goals", "applied"),
    [
        ((ON, BLOCK), (RedirectGoal.BLOCK, HOLD), ["block/block"]),
        ((ON, BLOCK), (HOLD, RedirectGoal.RELEASED), ["on/released"]),
        ((OFF, OFF), (RedirectGoal.ON, HOLD), ["on/released"]),
        ((RELEASED, ON), (RedirectGoal.OFF, HOLD), []),
        ((ON, ON), (RedirectGoal.OFF, RedirectGoal.BLOCK), ["released/block"]),
        ((ON, ON), (RedirectGoal.OFF, RedirectGoal.OFF), ["off/off"]),
        ((PARTIAL, ON), (HOLD, HOLD), []),
        ((PARTIAL, ON), (HOLD, RedirectGoal.BLOCK), []),
        ((ON, PARTIAL), (RedirectGoal.BLOCK, HOLD), []),
        ((PARTIAL, PARTIAL), (RedirectGoal.BLOCK, RedirectGoal.ON), ["block/on"]),
    ],
)
async def test_hold_keeps_what_is_live(
    live: tuple[Level, Level], goals: tuple[RedirectGoal, RedirectGoal], applied: list[str]
) -> None:
    scene = Scene(*live)
    scene.goals(*goals)
    async with scene.playing():
        await asyncio.sleep(2 * RECHECK)
        assert scene.applied == applied


@pytest.mark.parametrize("drift", [(OFF, OFF), (PARTIAL, ON), (RELEASED, ON)])
async def test_drift_is_repaired_before_anybody_is_told(drift: tuple[Level, Level]) -> None:
    scene = Scene(ON, ON)
    scene.goals(RedirectGoal.ON, RedirectGoal.ON)
    async with scene.playing():
        scene.kernel.live = LiveRedirect(*drift)
        await asyncio.sleep(RECHECK + 1)
        assert scene.applied == ["on/on"]
        assert scene.told == [fact(ON, ON)]


async def test_drift_that_cannot_be_repaired_is_told() -> None:
    scene = Scene(ON, ON)
    scene.goals(RedirectGoal.ON, RedirectGoal.ON)
    async with scene.playing():
        scene.kernel.live, scene.kernel.deaf = LiveRedirect(PARTIAL, ON), True
        await asyncio.sleep(RECHECK + 1)
        assert scene.told[-1].inbound is PARTIAL
        assert scene.told[-1].fault is not None
        assert scene.told[-1].fault.reason is Reason.REDIRECT_FAILED


async def test_a_first_look_that_fails_is_a_fault_at_once() -> None:
    scene = Scene()
    scene.break_helper(Trouble(Reason.REDIRECT_FORBIDDEN, "no rights"))
    async with scene.playing():
        assert scene.told == [fact(UNKNOWN, UNKNOWN, Fault(Reason.REDIRECT_FORBIDDEN, "no rights"))]
        scene.goals(RedirectGoal.ON, RedirectGoal.ON)
        await asyncio.sleep(RECHECK)
        assert scene.applied == []  # on unknown levels nothing is set


async def test_a_helper_that_hangs_is_a_fault_within_five_seconds() -> None:
    scene = Scene()
    scene.kernel.hang = True
    async with scene.playing():
        await asyncio.sleep(4.95)
        assert scene.told[0].fault is not None
        assert scene.told[0].fault.reason is Reason.REDIRECT_FAILED
        scene.kernel.hang = False
        await asyncio.sleep(5)
        assert scene.told[-1] == fact(OFF, OFF)


async def test_looks_that_fail_keep_what_was_seen_for_a_while() -> None:
    async with Scene(ON, ON).playing() as scene:
        scene.break_helper()
        while scene.kernel.calls.count("check") < TRIES:
            assert scene.told == [fact(ON, ON)]
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)
        assert scene.told[1:] == [fact(UNKNOWN, UNKNOWN, FAILED.fault)]
        scene.break_helper(None)
        await asyncio.sleep(RECHECK)
        assert scene.told[-1] == fact(ON, ON)


async def test_one_failed_look_is_nobodys_news() -> None:
    async with Scene(ON, ON).playing() as scene:
        scene.break_helper()
        await asyncio.sleep(RECHECK + 0.1)
        assert scene.kernel.calls == ["check", "check"]
        scene.break_helper(None)
        await asyncio.sleep(RECHECK)
        assert scene.told == [fact(ON, ON)]


async def test_an_apply_that_fails_is_a_fault_beside_what_is_live_and_tried_again() -> None:
    async with Scene(ON, ON).playing() as scene:
        scene.break_helper(Trouble(Reason.REDIRECT_REFUSED, "sshd listens there"))
        scene.goals(RedirectGoal.BLOCK)
        await asyncio.sleep(0.01)
        assert scene.told[-1] == fact(ON, ON, Fault(Reason.REDIRECT_REFUSED, "sshd listens there"))
        scene.break_helper(None)
        await asyncio.sleep(1)
        assert scene.told[-1] == fact(BLOCK, ON)
        assert scene.kernel.calls == ["check", "block/on", "check", "block/on"]


class Refusing(MemoryRedirector):
    async def apply(
        self, inbound: RedirectGoal, outbound: RedirectGoal, judged: float | None = None
    ) -> LiveRedirect:
        self.calls.append("refused")
        raise Trouble(Reason.SERVER_SPEAKS_FIRST, "port 25")


async def test_a_fault_stays_while_the_next_try_is_made() -> None:
    """Asking a server takes 1.5 s of each attempt: the reason stays during this time."""
    scene = Scene(RELEASED, RELEASED, Refusing)
    async with scene.playing():
        scene.goals(RedirectGoal.ON)
        await asyncio.sleep(100)
        assert scene.kernel.calls.count("refused") > 3
        refused = Fault(Reason.SERVER_SPEAKS_FIRST, "port 25")
        assert scene.told == [fact(RELEASED, RELEASED), fact(RELEASED, RELEASED, refused)]


async def test_a_failed_apply_may_have_done_its_work() -> None:
    """It is read again even when the goals have changed back."""
    async with Scene(ON, ON).playing() as scene:
        scene.break_helper()
        scene.goals(RedirectGoal.BLOCK)
        await asyncio.sleep(0.01)
        scene.kernel.live = LiveRedirect(BLOCK, ON)
        scene.break_helper(None)
        scene.goals(RedirectGoal.ON)
        await asyncio.sleep(0.01)
        assert scene.kernel.live == LiveRedirect(ON, ON)
        assert scene.told[-1] == fact(ON, ON)


async def test_failure_backs_off_and_new_goals_do_not_wait_for_it() -> None:
    async with Scene(ON, ON).playing() as scene:
        scene.break_helper()
        scene.goals(RedirectGoal.BLOCK)
        await asyncio.sleep(3600)
        assert len(scene.kernel.calls) < 3600 / (RECHECK / 2) + 10
        scene.break_helper(None)
        scene.goals(RedirectGoal.RELEASED)
        await asyncio.sleep(0.01)
        assert scene.told[-1] == fact(RELEASED, ON)


# drift ---------------------------------------------------------------------------------------------


def intended() -> Scene:
    scene = Scene(ON, ON)
    scene.kernel.watched = True
    scene.goals(RedirectGoal.ON, RedirectGoal.ON)
    return scene


async def drift(scene: Scene, inbound: Level = OFF, outbound: Level = OFF) -> None:
    """Another program changes the rules, and the loop has had time to react."""
    scene.kernel.live = LiveRedirect(inbound, outbound)
    scene.kernel.changed.set()
    await asyncio.sleep(PACE + 0.1)


async def test_drift_that_the_kernel_tells_of_is_repaired_at_once() -> None:
    async with intended().playing() as scene:
        await drift(scene)
        assert scene.kernel.live == LiveRedirect(ON, ON)
        assert scene.applied == ["on/on"]
        assert scene.told == [fact(ON, ON)]


async def test_what_happened_before_the_watch_was_open_is_seen_too() -> None:
    scene = intended()
    async with scene.playing():
        assert scene.kernel.calls == ["check", "check"]
        await asyncio.sleep(RECHECK / 2)
        assert scene.kernel.calls == ["check", "check"]


async def test_without_the_kernels_word_a_slow_look_stands_in_and_it_is_asked_for_again() -> None:
    scene = intended()
    scene.kernel.watched = False
    async with scene.playing():
        await drift(scene)
        assert scene.applied == []
        scene.kernel.watched = True
        await asyncio.sleep(RECHECK)
        assert scene.applied == ["on/on"]
        await drift(scene)
        assert scene.applied == ["on/on"] * 2


async def test_a_fight_ends_in_a_fault_and_not_in_a_loop() -> None:
    async with intended().playing() as scene:
        for _ in range(50):
            await drift(scene)
        assert len(scene.applied) == REPAIRS
        contested = scene.told[-1]
        assert (contested.inbound, contested.outbound) == (OFF, OFF)
        assert contested.fault is not None
        assert contested.fault.reason is Reason.REDIRECT_CONTESTED

        calls = len(scene.kernel.calls)
        for _ in range(100):  # looked at by the clock alone
            await drift(scene)
        assert len(scene.kernel.calls) - calls <= 100 * (PACE + 0.1) / RECHECK * 2 + 1
        assert len(scene.applied) == REPAIRS


async def test_after_the_window_it_is_repaired_again() -> None:
    async with intended().playing() as scene:
        for _ in range(REPAIRS + 1):
            await drift(scene)
        assert scene.told[-1].fault is not None
        await asyncio.sleep(WINDOW + RECHECK)
        assert scene.told[-1] == fact(ON, ON)
        assert len(scene.applied) == REPAIRS + 1


async def test_a_fight_that_the_other_side_gives_up_is_over() -> None:
    async with intended().playing() as scene:
        for _ in range(REPAIRS + 1):
            await drift(scene)
        scene.kernel.live = LiveRedirect(ON, ON)
        await asyncio.sleep(RECHECK)
        assert scene.told[-1] == fact(ON, ON)


async def test_new_goals_are_no_repair() -> None:
    async with intended().playing() as scene:
        for _ in range(REPAIRS + 1):
            await drift(scene)
        scene.goals(RedirectGoal.BLOCK, RedirectGoal.RELEASED)
        await asyncio.sleep(0.01)
        assert scene.told[-1] == fact(BLOCK, RELEASED)


async def test_the_agents_own_changes_are_no_drift() -> None:
    async with intended().playing() as scene:
        for _ in range(3 * REPAIRS):
            for goal in (RedirectGoal.BLOCK, RedirectGoal.ON):
                scene.goals(goal, RedirectGoal.ON)
                await asyncio.sleep(0.01)
                scene.kernel.changed.set()
                await asyncio.sleep(PACE + 0.1)
        assert all(each.fault is None for each in scene.told)
        assert len(scene.applied) == 6 * REPAIRS


async def test_an_edited_configuration_is_told_until_it_is_in_force() -> None:
    scene = intended()
    scene.kernel.edited = "workload.ports"
    async with scene.playing():
        waiting = Fault(Reason.REDIRECT_UNAPPROVED, "workload.ports")
        assert scene.told[-1] == RedirectFact(ON, ON, edited=waiting)
        scene.kernel.edited = ""
        await asyncio.sleep(RECHECK + 1)
        assert scene.told[-1] == fact(ON, ON)


async def test_a_suspension_is_told_while_what_was_before_still_holds() -> None:
    scene = intended()
    scene.kernel.suspended = "unconfirmed: on trial for 60 s, and not confirmed"
    async with scene.playing():
        held = Fault(Reason.REDIRECT_SUSPENDED, scene.kernel.suspended)
        assert scene.told[-1] == RedirectFact(ON, ON, suspended=held)
        scene.kernel.suspended = ""
        await asyncio.sleep(RECHECK + 1)
        assert scene.told[-1] == fact(ON, ON)
