"""Holds the watcher's own Lease: the replica that has it writes, the others observe."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from agent.cluster.watcher.board import Board
from agent.core.reasons import Reason
from agent.core.watch.election import Election, Terms
from agent.ports import Trouble
from agent.watcher_ports import LeaderApi

RELEASED = 1  # seconds: the shortest duration that a Lease may have


class Leader:
    """`about`: annotations for people and for `fairlead list`."""

    def __init__(
        self, api: LeaderApi, board: Board, me: str, terms: Terms, about: Callable[[], Mapping[str, str]]
    ) -> None:
        self._api, self._board, self._terms, self._about = api, board, terms, about
        self._election = Election(me, terms)
        self._led = False

    def leads(self) -> bool:
        return self._election.leads(self._board.clock())

    async def run(self) -> None:
        while True:
            try:
                await self._try()
                self._board.fault("the watcher's own Lease", None)
            except Trouble as trouble:
                if trouble.reason is not Reason.API_CONFLICT:  # another replica was quicker, or a person edited it
                    self._board.fault("the watcher's own Lease", trouble.fault)
            self._tell()
            await asyncio.sleep(self._election.pause(self._board.clock()))

    async def _try(self) -> None:
        clock = self._board.clock
        before = await self._api.read()
        if before is not None:
            self._election = self._election.observed(before.holder, before.version, clock())
        if not self._election.may_try(clock()):
            return
        began = clock()
        written = await self._api.write(before, self._election.me, self._terms.duration, self._about())
        self._election = self._election.renewed(written.version, began, clock())

    def _tell(self) -> None:
        """Also wakes the judge: what it may do has changed."""
        if self.leads() != self._led:
            self._led = self.leads()
            structlog.get_logger().info("leads" if self._led else "observes", me=self._election.me)
            self._board.changed.set()

    async def release(self) -> None:
        """At a planned end, so that another replica need not wait. Raises Trouble."""
        if self._election.held_from is None:
            return
        self._election = self._election.released()
        before = await self._api.read()
        if before is not None and before.holder == self._election.me:
            await self._api.write(before, "", RELEASED, {})
