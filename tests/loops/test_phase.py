"""The phase: read until it succeeds, recorded before it counts, and as old as its first request."""

import asyncio

import pytest

from agent.core.facts import UNKNOWN, Phase, PhaseKind
from agent.core.reasons import Reason
from agent.loops.board import Board
from agent.loops.phase import RETRY, PhaseLoop
from agent.ports import Trouble
from tests.fakes.phase import MemoryPhaseStore

UNREADABLE = Trouble(Reason.PHASE_UNREADABLE)


async def test_a_record_that_cannot_be_read_holds_everything_until_it_can() -> None:
    store, board = MemoryPhaseStore(PhaseKind.DRAINED), Board()
    store.trouble = UNREADABLE
    task = asyncio.create_task(PhaseLoop(store, board).run())
    await asyncio.sleep(10 * RETRY)
    assert board.phase.value is UNKNOWN
    store.trouble = None
    await task
    assert isinstance(board.phase.value, Phase) and board.phase.value.kind is PhaseKind.DRAINED


async def test_what_cannot_be_remembered_does_not_count() -> None:
    store, board = MemoryPhaseStore(PhaseKind.DRAINED), Board()
    loop = PhaseLoop(store, board)
    await loop.run()
    store.trouble = UNREADABLE
    with pytest.raises(Trouble):
        await loop.ask(PhaseKind.MEMBER)
    assert isinstance(board.phase.value, Phase) and board.phase.value.kind is PhaseKind.DRAINED


async def test_a_shutdown_is_remembered_by_nobody() -> None:
    store, board = MemoryPhaseStore(PhaseKind.DRAINED), Board()
    loop = PhaseLoop(store, board)
    await loop.run()
    await loop.ask(PhaseKind.SHUTTING_DOWN)
    assert isinstance(board.phase.value, Phase) and board.phase.value.kind is PhaseKind.SHUTTING_DOWN
    assert store.phase is PhaseKind.DRAINED


async def test_who_asks_again_does_not_start_the_time_anew() -> None:
    """drain.timeout counts from the first."""
    board = Board()
    loop = PhaseLoop(MemoryPhaseStore(PhaseKind.DRAINED), board)
    await loop.run()
    first = board.phase.value
    await asyncio.sleep(30)
    await loop.ask(PhaseKind.DRAINED)
    assert board.phase.value == first
