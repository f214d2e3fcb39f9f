"""The slices loop: while the host drains or leaves, whether an EndpointSlice still lists it as ready.

It polls only then, and only after Ready was read as not True: an earlier reading does not show what peers will
receive. It stops when no slice lists the host.
"""

import asyncio
from collections.abc import Callable

from agent.core import policy_drain
from agent.core.facts import UNKNOWN, SlicesFact
from agent.core.reasons import Fault, Reason
from agent.loops.board import Board, Waiter
from agent.ports import SliceApi, Trouble

POLL = 0.5  # seconds; a drain is short, and few hosts drain at once
FORBIDDEN_POLL = 300.0  # a right may be granted later; rarely, because each host that has left asks


class SlicesLoop:
    def __init__(self, api: SliceApi, board: Board, publish: Callable[[SlicesFact], None]) -> None:
        self._api, self._board, self._publish = api, board, publish

    async def run(self) -> None:
        waiter = Waiter(self._board.phase, self._board.facts)
        asked: float | None = None
        done = False
        self._publish(SlicesFact())
        while True:
            if self._asked() != asked:
                asked, done = self._asked(), False
                self._publish(SlicesFact())
            if asked is None or done:
                await waiter.wait()
                continue
            fact = await self._look()
            if self._asked() == asked:
                self._publish(fact)
                done = fact.unlisted_since is not None
            if not done:
                await self._pause(waiter, asked, FORBIDDEN_POLL if _forbidden(fact) else POLL)

    async def _pause(self, waiter: Waiter, asked: float | None, seconds: float) -> None:
        """Wait for that time, or until the question changes."""
        try:
            async with asyncio.timeout(seconds):
                while self._asked() == asked:
                    await waiter.wait()
        except TimeoutError:
            return

    def _asked(self) -> float | None:
        """Since when Ready is not True while this host, or its proxy, drains; None: no reading is needed."""
        phase, fact = self._board.phase.value, self._board.facts.value.workload
        going = policy_drain.going(phase, self._board.facts.value) is not None
        going = going or self._board.facts.value.replacing
        return fact.unready_since if going and fact is not UNKNOWN else None

    async def _look(self) -> SlicesFact:
        try:
            listed = await self._api.listed()
        except Trouble as trouble:
            forbidden = trouble.reason is Reason.API_FORBIDDEN
            return SlicesFact(fault=Fault(Reason.SLICES_FORBIDDEN, trouble.detail) if forbidden else trouble.fault)
        return SlicesFact(listed, None if listed else asyncio.get_running_loop().time())


def _forbidden(fact: SlicesFact) -> bool:
    return fact.fault is not None and fact.fault.reason is Reason.SLICES_FORBIDDEN
