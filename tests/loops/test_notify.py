import asyncio

import structlog

from agent.core.facts import AgentFact
from agent.core.goals import Advertise, Goals
from agent.core.reasons import Reason
from agent.loops.board import Board
from agent.loops.notify import NotifyLoop
from tests.core.world import SPEC, phase
from tests.loops.running import running


class Manager:
    """`away`: why it receives nothing; "": it does."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.away = ""

    def notify(self, *lines: str) -> str:
        if not self.away:
            self.said += lines
        return self.away


async def test_ready_once_status_at_each_change_watchdog_while_decisions_are_made() -> None:
    manager, board, loop = Manager(), Board(), asyncio.get_running_loop()
    board.phase.set(phase("member"))
    async with running(NotifyLoop(manager, SPEC, board, watchdog=10.0).run()):
        await asyncio.sleep(1)
        assert "READY=1" not in manager.said and "WATCHDOG=1" not in manager.said
        board.setter("agent")(AgentFact(loop.time()))
        board.decided_at = loop.time()
        board.goals.set(Goals(advertise=Advertise.YES, reason=Reason.HOST_READY))
        await asyncio.sleep(12)
        assert manager.said.count("READY=1") == 1 and manager.said.count("WATCHDOG=1") >= 2
        assert any(line.startswith("STATUS=Ready") for line in manager.said)
        beats = manager.said.count("WATCHDOG=1")
        await asyncio.sleep(600)  # the decision loop hangs: the manager must notice
        assert manager.said.count("WATCHDOG=1") <= beats + 2


async def test_without_a_watchdog_it_is_silent_while_nothing_changes() -> None:
    manager, board = Manager(), Board()
    async with running(NotifyLoop(manager, SPEC, board, watchdog=None).run()):
        await asyncio.sleep(3600)
        assert len(manager.said) == 1


async def test_what_the_manager_did_not_receive_is_sent_again() -> None:
    """It is away at the start, and later; each time the log says so once."""
    manager, board, loop = Manager(), Board(), asyncio.get_running_loop()
    board.phase.set(phase("member"))
    manager.away = "Connection refused"
    with structlog.testing.capture_logs() as logs:
        async with running(NotifyLoop(manager, SPEC, board, watchdog=10.0).run()):
            board.setter("agent")(AgentFact(loop.time()))
            await asyncio.sleep(30)
            assert manager.said == [] and [line["detail"] for line in logs] == ["Connection refused"]
            manager.away = ""
            await asyncio.sleep(6)
            assert manager.said[0] == "READY=1" and manager.said[1].startswith("STATUS=")
            board.goals.set(Goals(advertise=Advertise.YES, reason=Reason.HOST_READY))
            await asyncio.sleep(1)
            assert manager.said[-1].startswith("STATUS=Ready") and len(logs) == 1
