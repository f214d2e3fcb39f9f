"""Writes the condition fairlead.dev/Unique where it has to change, so that a host learns what it cannot see."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, Mapping

from agent.cluster.watcher.board import Board
from agent.core.addresses import Key
from agent.core.facts import Condition, Workload
from agent.core.watch import unique
from agent.core.watch.fleet import UNIQUE, Name, WorkloadSeen
from agent.core.watch.unique import Shared
from agent.ports import Event, Trouble
from agent.watcher_ports import FleetApi

EVERY = 15.0  # seconds: how often ExternalWorkloads are read
# linkerd-destination logs each write of an ExternalWorkload that does not change its Ready as an error.
AT_ONCE = 20


class Uniqueness:
    """`leads`, `wall`, `exact_wall`, `token`: as Judge has them. `cluster`: pods and nodes by address."""

    def __init__(
        self,
        api: FleetApi,
        board: Board,
        leads: Callable[[], bool],
        wall: Callable[[], str],
        exact_wall: Callable[[], str],
        token: Callable[[], str],
        cluster: Callable[[], Mapping[Key, Name]] = dict,
    ) -> None:
        self._api, self._board, self._leads, self._cluster = api, board, leads, cluster
        self._wall, self._exact_wall, self._token = wall, exact_wall, token

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self._once()
                self._board.fault(UNIQUE, None)
            except Trouble as trouble:
                self._board.fault(UNIQUE, trouble.fault)

    async def _once(self) -> None:
        """Only with a current view of every scope: the other of a pair may be in any of them."""
        board, left = self._board, AT_ONCE
        if any(view.stale(board.clock(), board.limits) for view in board.views.values()):
            return
        for name, seen, condition in self._changes():
            if not left or not self._leads():
                return
            left -= 1
            await self._write(name, seen, condition)

    def _changes(self) -> Iterator[tuple[Name, WorkloadSeen, Condition]]:
        workloads: dict[Name, WorkloadSeen] = {}
        twins: dict[Name, Shared] = {}
        for view in self._board.views.values():
            workloads |= view.workloads
            twins |= unique.twins(view.leases, self._board.clock())
        found = unique.shared(workloads, self._cluster(), twins)
        for name, seen in workloads.items():
            if (condition := unique.wanted(found.get(name), seen)) is not None:
                yield name, seen, condition

    async def _write(self, name: Name, judged: WorkloadSeen, condition: Condition) -> None:
        found = await self._api.workload(name)
        if found is None or _subject(found.seen) != _subject(judged) or found.seen.unique != judged.unique:
            return  # the next reading shows what it is now
        answer = await self._api.patch_conditions(
            name, found.workload, conditions(found.workload, condition, self._wall())
        )
        scope = self._board.scope(name)
        self._board.update(scope, self._board.views[scope].with_workload(name, answer.seen))
        event = Event(
            f"{name[1]}.{self._token()}",
            answer.seen.uid,
            self._exact_wall(),
            "Watch",
            condition.reason,
            condition.message,
            warning=condition.status == "False",
        )
        await self._api.post_event(name, event)


def _subject(seen: WorkloadSeen) -> tuple[object, ...]:
    return seen.uid, seen.addresses, seen.ports, seen.identity, seen.group


def conditions(workload: Workload, condition: Condition, wall: str) -> tuple[Condition, ...]:
    """All of the workload's, with this one once. Its time changes only when its status does."""
    before = next((one for one in workload.conditions if one.type == UNIQUE), None)
    kept = before is not None and before.status == condition.status
    since = before.last_transition_time if kept and before is not None else wall
    others = tuple(one for one in workload.conditions if one.type != UNIQUE)
    return (*others, dataclasses.replace(condition, last_transition_time=since))
