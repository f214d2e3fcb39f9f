"""Holds the watcher's own Lease: the replica that has it writes, the others observe."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from agent.cluster.watcher.board import Board
from agent.core.reasons import Reason
from agent.core.watch.election import Election, Terms
from agent.ports import Trouble
from agent.watcher_ports import LeaderApi, Leadership

RELEASED = 1  # seconds: the shortest duration that a Lease may have


class Leader:
    """`about`: annotations for people and for `fairlead list`."""

    def __init__(
        self, api: LeaderApi, board: Board, me: str, terms: Terms, about: Callable[[], Mapping[str, str]]
    ) -> None:
        self._api, self._board, self._terms, self._about = api, board, terms, about
        self._election = Election(me, terms)
        self._led = False
        self._written: Leadership | None = None  # by this replica, last; None: it has to be read first

    def leads(self) -> bool:
        return self._election.leads(self._board.clock())

    async def run(self) -> None:
        while True:
            began = self._board.clock()
            try:
                await self._try()
                self._board.fault("the watcher's own Lease", None)
            except Trouble as trouble:
                if trouble.reason is not Reason.API_CONFLICT:  # another replica was quicker, or a person edited it
                    self._board.fault("the watcher's own Lease", trouble.fault)
            self._tell()
            await asyncio.sleep(self._pause(began))

    def _pause(self, began: float) -> float:
        """The holder counts from the beginning of its renewal: a slow API server must not stop it from writing."""
        now = self._board.clock()
        since = now - began if self._election.held_from is not None else 0.0
        return max(0.0, self._election.pause(now) - since)

    async def _try(self) -> None:
        if not await self._renewed():
            clock, before = self._board.clock, await self._api.read()
            if before is not None:
                self._election = self._election.observed(before.holder, before.version, clock())
            if self._election.may_try(clock()):
                await self._write(before)

    async def _renewed(self) -> bool:
        """What this replica wrote last needs no reading: the server refuses the renewal if it has changed."""
        before, self._written = self._written, None
        if before is None:
            return False
        try:
            await self._write(before)
        except Trouble as trouble:
            if trouble.reason in (Reason.API_CONFLICT, Reason.LEASE_MISSING):
                return False
            raise
        return True

    async def _write(self, before: Leadership | None) -> None:
        began = self._board.clock()
        written = await self._api.write(before, self._election.me, self._terms.duration, self._about())
        self._election = self._election.renewed(written.version, began, self._board.clock())
        self._written = written

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
