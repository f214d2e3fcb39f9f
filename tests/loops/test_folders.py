import asyncio

from agent.core.facts import Facts
from agent.core.reasons import Fault, Reason
from agent.loops.board import Board
from agent.loops.folders import EVERY, FoldersLoop
from agent.ports import Trouble
from tests.loops.running import running

FULL = Trouble(Reason.STATE_UNWRITABLE, "no space is left for it")
GONE = Trouble(Reason.SOCKETS_GONE, "it is gone")


class Folders:
    def __init__(self) -> None:
        self.trouble: Trouble | None = None

    async def look(self) -> None:
        if self.trouble is not None:
            raise self.trouble


async def test_what_is_wrong_is_said_until_it_is_over() -> None:
    found, board = Folders(), Board()
    async with running(FoldersLoop(found.look, board.setter("folders"), None).run()):
        await asyncio.sleep(EVERY)
        assert board.facts.value == Facts(folders=None)
        found.trouble = FULL
        await asyncio.sleep(EVERY)
        assert board.facts.value.folders == Fault(Reason.STATE_UNWRITABLE, "no space is left for it")
        found.trouble = None
        await asyncio.sleep(EVERY)
        assert board.facts.value.folders is None


async def test_an_agent_whom_nobody_can_reach_begins_anew() -> None:
    found, board = Folders(), Board()
    end = asyncio.Event()
    async with running(FoldersLoop(found.look, board.setter("folders"), end.set).run()):
        found.trouble = FULL
        await asyncio.sleep(EVERY)
        assert not end.is_set()
        found.trouble = GONE
        await asyncio.sleep(EVERY)
        assert end.is_set() and board.facts.value.folders == GONE.fault


async def test_one_whom_nobody_would_start_says_so_and_goes_on() -> None:
    found, board = Folders(), Board()
    found.trouble = GONE
    async with running(FoldersLoop(found.look, board.setter("folders"), None).run()):
        await asyncio.sleep(3 * EVERY)
        assert board.facts.value.folders == GONE.fault
