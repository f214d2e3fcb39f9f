"""The loop that records that this host has been Ready: until then a failure policy may leave ports open.

Root owns the record. It is read at the start and when the phase changes, because `leave` removes it.
"""

import asyncio
from collections.abc import Callable

from agent.core import conditions
from agent.core.facts import UNKNOWN, PhaseKind, ReadyOnceFact
from agent.core.goals import Advertise
from agent.loops.board import Board, Waiter
from agent.ports import ReadyRecord, Trouble

RETRY = 5.0  # seconds


class ReadyOnceLoop:
    def __init__(self, record: ReadyRecord, board: Board, publish: Callable[[ReadyOnceFact], None]) -> None:
        self._record, self._board, self._publish = record, board, publish
        self._read_for: object = None  # the phase in which it was last read

    async def run(self) -> None:
        waiter = Waiter(self._board.facts, self._board.goals, self._board.phase)
        while True:
            try:
                await self._round()
                pause = None
            except Trouble as trouble:
                self._say(trouble)
                pause = RETRY
            if pause is not None:
                await asyncio.sleep(pause)
            else:
                await waiter.wait()

    async def _round(self) -> None:
        phase, known = self._board.phase.value, self._board.facts.value.ready_once
        if known is UNKNOWN or phase != self._read_for:
            self._publish(ReadyOnceFact(await self._record.read()))
            self._read_for = phase
        elif not known.recorded and self._is_ready():
            self._publish(ReadyOnceFact(await self._record.write()))

    def _is_ready(self) -> bool:
        """It is wanted and published: a Ready=True of an earlier boot is not a proof."""
        facts, goals, phase = self._board.facts.value, self._board.goals.value, self._board.phase.value
        member = phase is not UNKNOWN and phase.kind is PhaseKind.MEMBER
        return member and goals.advertise is Advertise.YES and conditions.told(facts, goals)

    def _say(self, trouble: Trouble) -> None:
        """After a failed reading it stays unknown; a failed write is tried again."""
        known = self._board.facts.value.ready_once
        if known is not UNKNOWN:
            self._publish(ReadyOnceFact(known.recorded, trouble.fault))
