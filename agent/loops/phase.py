"""The phase: read once at the start, changed when an operator asks."""

import asyncio

from agent.core.facts import UNKNOWN, Phase, PhaseKind
from agent.loops.board import Board
from agent.ports import PhaseStore, Trouble

RETRY = 5.0  # seconds


class PhaseLoop:
    """Until the record can be read the phase is UNKNOWN, and every goal is HOLD."""

    def __init__(self, store: PhaseStore, board: Board) -> None:
        self._store, self._board = store, board

    async def run(self) -> None:
        while self._board.phase.value is UNKNOWN:
            try:
                self._set(await self._store.read())
            except Trouble:  # the reason for an UNKNOWN phase is PhaseUnreadable
                await asyncio.sleep(RETRY)

    async def ask(self, phase: PhaseKind) -> None:
        """Record the phase, then act on it. If it raises Trouble, nothing has changed. A shutdown ends with this
        boot, so it is not recorded."""
        if phase is not PhaseKind.SHUTTING_DOWN:
            await self._store.write(phase)
        self._set(phase)

    def _set(self, kind: PhaseKind) -> None:
        now = self._board.phase.value
        if now is UNKNOWN or now.kind is not kind:
            self._board.phase.set(Phase(kind, asyncio.get_running_loop().time()))
