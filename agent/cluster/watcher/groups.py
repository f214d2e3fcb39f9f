"""Writes the status of each WorkloadGroup: a group once in 30 s at most, and only where it changed."""

import asyncio
from collections.abc import Callable

from agent.cluster.watcher.board import Board
from agent.core.reasons import Reason
from agent.core.watch import groups
from agent.ports import Trouble
from agent.watcher_ports import GroupApi

EVERY = 30.0  # seconds; members come and go together, and no program waits for these numbers
ABOUT = "WorkloadGroups"


class Groups:
    """`leads`: this replica may write."""

    def __init__(self, api: GroupApi, board: Board, leads: Callable[[], bool]) -> None:
        self._api, self._board, self._leads = api, board, leads

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            if not self._leads():
                continue
            troubles = [trouble for scope in self._board.views if (trouble := await self._try(scope))]
            self._board.fault(ABOUT, troubles[0].fault if troubles else None)

    async def _try(self, scope: str) -> Trouble | None:
        try:
            await self._once(scope)
        except Trouble as trouble:
            if trouble.reason is not Reason.API_CONFLICT:  # the next look shows what another program wrote
                return trouble
        return None

    async def _once(self, scope: str) -> None:
        """Only with a current view: hosts that were not read yet are no members that are missing."""
        board, found = self._board, await self._api.groups(scope)
        view = board.views[scope]
        if view.stale(board.clock(), board.limits):
            return
        for name, status in list(groups.changes(found, view.workloads.items())):
            if not self._leads():
                return
            await self._api.write_group_status(name, found[name], status)
