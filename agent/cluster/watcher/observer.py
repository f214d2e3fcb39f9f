"""Reads all Leases of a scope, again and again, and its ExternalWorkloads less often."""

import asyncio
from collections.abc import Callable

from agent.cluster.watcher.board import Board
from agent.core.backoff import Backoff
from agent.core.reasons import Fault, Reason
from agent.ports import Trouble
from agent.watcher_ports import FleetApi

# Every so many readings of Leases: what changed in between is read live before a verdict.
WORKLOADS_EVERY = 3


class Observer:
    def __init__(self, api: FleetApi, scope: str, board: Board, jitter: Callable[[], float]) -> None:
        self._api, self._scope, self._board, self._jitter = api, scope, board, jitter
        self._retry = Backoff(first=min(1.0, board.limits.look_every), factor=2.0, most=board.limits.look_every)

    async def run(self) -> None:
        attempt = count = 0
        while True:
            began = self._board.clock()
            try:
                async with asyncio.timeout(self._board.limits.stale_after):
                    await self._read(with_workloads=count % WORKLOADS_EVERY == 0)
                attempt, count, pause = 0, count + 1, self._rest(began)
                self._tell(None)
            except Trouble as trouble:
                self._tell(trouble.fault)
                pause = self._retry.delay(attempt, self._jitter(), trouble.retry_after)
                attempt += 1
            except TimeoutError:
                self._tell(Fault(Reason.API_TIMEOUT, "a reading of all hosts took too long"))
                pause = self._retry.delay(attempt, self._jitter())
                attempt += 1
            await asyncio.sleep(pause)

    async def _read(self, *, with_workloads: bool) -> None:
        """Both at once: one after the other, at a slow API server, would make the view stale and begin everybody's
        grace again each time."""
        readings = [self._leases(), self._workloads()] if with_workloads else [self._leases()]
        for result in await asyncio.gather(*readings, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _workloads(self) -> None:
        found = await self._api.workloads(self._scope)
        self._board.update(self._scope, self._board.views[self._scope].with_workloads(found))

    async def _leases(self) -> None:
        board, began = self._board, self._board.clock()
        found = await self._api.leases(self._scope)
        view = board.views[self._scope].with_leases(found, began, board.clock(), board.limits)
        board.update(self._scope, view)

    def _rest(self, began: float) -> float:
        return max(0.0, began + self._board.limits.look_every - self._board.clock())

    def _tell(self, fault: Fault | None) -> None:
        where = f"namespace {self._scope}" if self._scope else "all namespaces"
        self._board.fault(f"readings of {where}", fault)
