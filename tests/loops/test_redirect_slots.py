"""The redirect loop turns the rules to the slot that is wanted."""

import asyncio

from agent.core.facts import Level, RedirectFact
from agent.core.goals import Goals, RedirectGoal
from agent.core.reasons import Reason
from agent.core.slots import Slot
from agent.loops.board import Board
from agent.loops.redirect import RedirectLoop
from agent.ports import LiveRedirect, Trouble
from tests.fakes.redirector import MemoryRedirector
from tests.loops.running import running

ON = LiveRedirect(Level.ON, Level.ON)


def turned(slot: Slot | None, level: RedirectGoal = RedirectGoal.ON) -> Goals:
    return Goals(inbound=level, outbound=level, slot=slot)


async def test_it_turns_once_and_says_which_slot_is_named() -> None:
    kernel, board = MemoryRedirector(ON), Board()
    board.goals.set(turned(Slot.MAIN))
    async with running(RedirectLoop(kernel, board, board.setter("redirect"), lambda: 0.0).run()):
        await asyncio.sleep(1)
        assert "turn main" not in kernel.calls
        board.goals.set(turned(Slot.STANDBY, RedirectGoal.HOLD))
        await asyncio.sleep(1)
        assert kernel.calls.count("turn standby") == 1
        assert isinstance(board.facts.value.redirect, RedirectFact)
        assert board.facts.value.redirect.slot is Slot.STANDBY
        assert board.facts.value.redirect.inbound is Level.ON, "the level goes with it"


async def test_a_turn_that_is_refused_is_tried_again_and_a_fault_if_it_lasts() -> None:
    kernel, board = MemoryRedirector(ON), Board()
    board.goals.set(turned(Slot.MAIN))
    async with running(RedirectLoop(kernel, board, board.setter("redirect"), lambda: 0.0).run()):
        await asyncio.sleep(1)
        kernel.unready = Trouble(Reason.PROXY_LISTENER_ABSENT, "nobody listens")
        board.goals.set(turned(Slot.STANDBY, RedirectGoal.HOLD))
        await asyncio.sleep(1)
        fact = board.facts.value.redirect
        assert kernel.calls.count("turn standby") > 1
        assert isinstance(fact, RedirectFact) and fact.fault is None, "main serves"
        await asyncio.sleep(10)
        fact = board.facts.value.redirect
        assert isinstance(fact, RedirectFact) and fact.fault is not None and fact.slot is Slot.MAIN
        kernel.unready = None
        await asyncio.sleep(30)
        fact = board.facts.value.redirect
        assert isinstance(fact, RedirectFact) and fact.fault is None and fact.slot is Slot.STANDBY


async def test_a_host_with_one_slot_never_turns() -> None:
    kernel, board = MemoryRedirector(ON), Board()
    board.goals.set(turned(None))
    async with running(RedirectLoop(kernel, board, board.setter("redirect"), lambda: 0.0).run()):
        await asyncio.sleep(60)
    assert not [call for call in kernel.calls if call.startswith("turn")]
