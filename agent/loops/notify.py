"""The notify loop: sends READY=1, STATUS= and, while the decision loop runs, WATCHDOG=1 to the service manager.

What the manager did not receive is sent again. A manager that is away never ends the agent.
"""

import asyncio

import structlog

from agent.core import snapshot
from agent.core.health import Spec
from agent.loops.board import ALIVE_WITHIN, Board, Waiter
from agent.ports import Notifier


class NotifyLoop:
    """`watchdog`: the manager's limit in seconds; None: no limit."""

    def __init__(self, notifier: Notifier, spec: Spec, board: Board, watchdog: float | None) -> None:
        self._notifier, self._spec, self._board, self._watchdog = notifier, spec, board, watchdog
        self._said = ""
        self._ready = False
        self._unreceived = ""  # why

    async def run(self) -> None:
        waiter = Waiter(self._board.facts, self._board.goals, self._board.phase)
        while True:
            await waiter.wait(None if self._watchdog is None else self._watchdog / 2)
            self._tell(asyncio.get_running_loop().time())

    def _tell(self, now: float) -> None:
        facts = self._board.facts.value
        if not self._ready and facts.ready_at is not None:
            self._ready = self._received("READY=1")
        headline = snapshot.headline(self._spec, self._board.phase.value, facts, self._board.goals.value, now)
        if headline != self._said and self._received(f"STATUS={headline}"):
            self._said = headline
        if self._watchdog is not None and self._board.alive(now, ALIVE_WITHIN):
            self._received("WATCHDOG=1")

    def _received(self, line: str) -> bool:
        why = self._notifier.notify(line)
        if why and why != self._unreceived:
            structlog.get_logger().warning("the service manager receives no notifications", detail=why)
        self._unreceived = why
        return not why
