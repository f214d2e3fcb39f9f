"""Decides, and carries verdicts out: reads the host live, and marks it if nothing has changed."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

import structlog

from agent.cluster.watcher.board import Board
from agent.core import conditions
from agent.core.conditions import READY, Word
from agent.core.reasons import Fault, Reason
from agent.core.watch import fleet
from agent.core.watch.decision import Decision, Memory, decide
from agent.core.watch.fleet import Name, Standing
from agent.core.watch.guard import Pace
from agent.ports import Event, Trouble
from agent.watcher_ports import FleetApi, Found, LeaderApi

AT_ONCE = 20  # verdicts
# Seconds from one decision to the next, at least: each looks at every host, and each verdict is news.
SPACING = 0.25
NO_ZONE = "(none)"
A = TypeVar("A")
B = TypeVar("B")
MARK = Word(READY, "Unknown", Reason.HOST_UNREACHABLE)


class Judge:
    """`leads`: this replica may write. `announcements`: for Events about zones. `wall`: now as RFC 3339;
    `exact_wall`: with microseconds. `token`: random, for the names of Events."""

    def __init__(
        self,
        api: FleetApi,
        board: Board,
        leads: Callable[[], bool],
        announcements: LeaderApi,
        wall: Callable[[], str],
        exact_wall: Callable[[], str],
        token: Callable[[], str],
    ) -> None:
        self._api, self._board, self._leads = api, board, leads
        self._announcements = announcements
        self._wall, self._exact_wall, self._token = wall, exact_wall, token
        self._slots, self._pending = asyncio.Semaphore(AT_ONCE), set[Name]()
        self.marked = 0

    async def run(self) -> None:
        memory = Memory()
        async with asyncio.TaskGroup() as verdicts:
            while True:
                self._board.changed.clear()
                decision = self._decide(memory)
                for event in self._guarded(memory.paces, decision.memory.paces):
                    verdicts.create_task(self._announce(event), name="event of the guard")
                memory = decision.memory
                for name in decision.verdicts:
                    if name not in self._pending:  # else an API server that is slow would get more of the same
                        self._pending.add(name)
                        verdicts.create_task(self._verdict(name), name=f"verdict: {name}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(decision.recheck_after):
                        await self._board.changed.wait()
                await asyncio.sleep(SPACING)

    def _decide(self, memory: Memory) -> Decision:
        board = self._board
        decision = decide(list(board.views.values()), memory, board.clock(), board.limits)
        if not self._leads():
            # It observes alone. What the leader asked and when, this replica does not know.
            kept = Memory(paces=decision.memory.paces, grace=decision.memory.grace)
            decision = dataclasses.replace(decision, memory=kept, verdicts=(), recheck_after=None)
        board.decision = decision
        return decision

    def _guarded(self, before: Mapping[str, Pace], after: Mapping[str, Pace]) -> Iterator[Event]:
        """Where the guard is in force; and, from the leader, an Event where it was not before."""
        held = Fault(Reason.FLEET_SILENT) if Pace.HELD in after.values() else None
        self._board.fault("the fleet", held)
        if held and Pace.HELD not in before.values() and self._leads():
            yield self._event(held.reason, "", "")
        for zone in before.keys() | after.keys():
            slow = after.get(zone) is Pace.SLOW
            self._board.fault(f"zone {zone or NO_ZONE}", Fault(Reason.ZONE_GUARDED) if slow else None)
            if slow and before.get(zone) is not Pace.SLOW and self._leads():
                yield self._event(Reason.ZONE_GUARDED, "", f"zone {zone or NO_ZONE}: ")

    async def _announce(self, event: Event) -> None:
        try:
            await self._announcements.post_event(event)
        except Trouble as trouble:
            self._board.fault("Events", trouble.fault)

    async def _verdict(self, name: Name) -> None:
        try:
            async with self._slots:
                marked = await self._judge(name)
            if marked is not None:
                event = self._event(MARK.reason, marked.workload.uid, "")
                await self._api.post_event(name, dataclasses.replace(event, name=f"{name[1]}.{event.name}"))
            self._tell(name, None)
        except Trouble as trouble:
            self._tell(name, trouble.fault)
        finally:
            self._pending.discard(name)

    async def _judge(self, name: Name) -> Found | None:
        """What it is after the mark; None: it was not marked."""
        board, began = self._board, self._board.clock()
        judged = board.views[board.scope(name)].leases.get(name)
        lease, found = await _both(self._api.lease(name), self._api.workload(name))
        board.live(name, lease, found, board.clock())
        if judged is None or lease != judged.lease or found is None:
            return None
        wanted = conditions.written(found.workload, (MARK,), self._wall())
        if board.clock() - began > board.limits.fresh or not self._leads() or not self._still(name):
            return None
        answer = await self._api.patch_conditions(name, found.workload, wanted)
        board.live(name, lease, answer, board.clock())
        self.marked += 1
        structlog.get_logger().warning(
            "marked a silent host", host="/".join(name), reason=MARK.reason.value, zone=found.seen.zone
        )
        return answer

    def _still(self, name: Name) -> bool:
        """It may have waited, and the view may have become stale meanwhile."""
        board, memory, now = self._board, self._board.decision.memory, self._board.clock()
        host = fleet.host(board.views[board.scope(name)], name, memory.grace, now, board.limits)
        silent = host is not None and host.standing is Standing.SILENT and host.ready
        return silent and host is not None and memory.paces.get(host.zone) is not Pace.HELD

    def _event(self, reason: Reason, uid: str, about: str) -> Event:
        note = about + conditions.message(reason)
        return Event(self._token(), uid, self._exact_wall(), "Watch", reason.value, note, warning=True)

    def _tell(self, name: Name, fault: Fault | None) -> None:
        """By namespace and not by host: what goes wrong with one host of a namespace goes wrong with others."""
        if fault is None or fault.reason is not Reason.API_CONFLICT:  # the host was quicker: it is asked again
            self._board.fault(f"verdicts in namespace {name[0]}", fault)


async def _both(one: Awaitable[A], other: Awaitable[B]) -> tuple[A, B]:
    """Raises Trouble after both have ended, so that none is left behind."""
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    return first, second
