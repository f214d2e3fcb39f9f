"""Counts, hour by hour, how long the members of a WorkloadGroup with spec.retire have been silent.

It retires none itself: config/cluster/watcher-retire.yaml runs the program that does, as an account of its own.
"""

import asyncio
from collections.abc import Callable, Mapping

from agent.cluster.watcher.board import Board
from agent.core.reasons import Reason
from agent.core.watch import fleet
from agent.core.watch.fleet import Name, Standing, View
from agent.core.watch.groups import GroupSeen
from agent.core.watch.guard import Pace
from agent.core.watch.retirement import NONE, Ledger, Member, after_an_hour
from agent.ports import Trouble
from agent.watcher_ports import GroupApi

EVERY = 60.0  # seconds: how often it looks whether the hour is over
HOUR = 3600.0
ABOUT = "retirement of old members"
SILENT = (Standing.SILENT, Standing.OUT)


class Retiring:
    """`leads`: this replica may write."""

    def __init__(self, api: GroupApi, board: Board, leads: Callable[[], bool]) -> None:
        self._api, self._board, self._leads = api, board, leads
        self._since: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            over = [scope for scope in self._board.views if self._over(scope)]
            troubles = [trouble for scope in over if (trouble := await self._try(scope))]
            if over:
                self._board.fault(ABOUT, troubles[0].fault if troubles else None)

    async def _try(self, scope: str) -> Trouble | None:
        try:
            await self._count(scope)
        except Trouble as trouble:
            if trouble.reason is not Reason.API_CONFLICT:  # this group is counted an hour later
                return trouble
        return None

    def _over(self, scope: str) -> bool:
        """A whole hour in which this replica led, with a view without a gap, and not all of the fleet silent."""
        board, now = self._board, self._board.clock()
        view, memory = board.views[scope], board.decision.memory
        if not self._leads() or view.stale(now, board.limits) or Pace.HELD in memory.paces.values():
            self._since.pop(scope, None)
            return False
        start = max(self._since.setdefault(scope, now), view.grace_from, memory.grace.last)
        return now - start >= HOUR

    async def _count(self, scope: str) -> None:
        found = await self._api.groups(scope)
        view, self._since[scope] = self._board.views[scope], self._board.clock()
        for name, ledger in self._changes(found, view):
            if not self._leads():
                return
            await self._api.write_ledger(name, found[name], ledger)

    def _changes(self, groups: Mapping[Name, GroupSeen], view: View) -> list[tuple[Name, Ledger]]:
        members: dict[Name, dict[str, Member]] = {name: {} for name, one in groups.items() if one.retire_after}
        for (namespace, name), seen in view.workloads.items():
            if (group := members.get((namespace, seen.group))) is not None:
                group[name] = self._member((namespace, name), view)
        wanted = {
            name: after_an_hour(one.ledger, members[name], one.retire_after) if one.retire_after else NONE
            for name, one in groups.items()
        }
        return [(name, ledger) for name, ledger in sorted(wanted.items()) if ledger != groups[name].ledger]

    def _member(self, name: Name, view: View) -> Member:
        board, seen, heard = self._board, view.workloads[name], view.leases.get(name)
        host = fleet.host(view, name, board.decision.memory.grace, board.clock(), board.limits)
        silent = host is not None and host.standing in SILENT
        return Member(seen.uid, heard.lease.version if heard else "", seen.ready, silent, seen.retiring)
