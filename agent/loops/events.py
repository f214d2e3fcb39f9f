"""The loop of Events: records each transition of Ready and its reason, for `kubectl describe`.

It reads what was published, so an Event is never earlier than the condition. An error here is logged once and
affects nothing else.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from agent.core import conditions
from agent.core.events import Ledger, Said, Series, said
from agent.core.facts import UNKNOWN, Workload
from agent.core.reasons import REGISTRY, Reason, Severity
from agent.loops.board import Board, Waiter
from agent.ports import Event, EventApi, Trouble

LOUD = (Severity.WARN, Severity.FAULT)


class EventsLoop:
    """`wall`: now as RFC 3339 with microseconds. `token`: returns a unique part of a name."""

    def __init__(
        self, api: EventApi, board: Board, name: str, wall: Callable[[], str], token: Callable[[], str]
    ) -> None:
        self._api, self._board, self._name, self._wall, self._token = api, board, name, wall, token
        self._ledger = Ledger()
        self._uid, self._said = "", Said("", "")
        self._trouble: Reason | None = None
        self._log = structlog.get_logger()

    async def run(self) -> None:
        waiter = Waiter(self._board.facts)
        while True:
            await waiter.wait()
            fact = self._board.facts.value.workload
            if fact is not UNKNOWN and fact.seen is not None:
                await self._look(fact.seen)

    async def _look(self, seen: Workload) -> None:
        now, before, now_said = asyncio.get_running_loop().time(), (self._uid, self._said), said(seen)
        self._uid, self._said = seen.uid, now_said
        if before[0] != seen.uid or before[1] == now_said or now_said.reason not in {r.value for r in Reason}:
            return  # the first reading of an object is not a transition
        try:
            await self._tell(seen.uid, now_said, now)
        except Trouble as trouble:
            if trouble.reason is not self._trouble:
                self._log.info(
                    "cannot record an Event: it is left out",
                    detail=trouble.detail,
                    remedy=trouble.fault.way_out,
                    component="workload",
                )
            self._trouble = trouble.reason

    async def _tell(self, uid: str, what: Said, now: float) -> None:
        known = self._ledger.known(uid, what, now)
        series = Series(f"{self._name}.{self._token()}", 1, now) if known is None else _again(known, now)
        after = self._ledger.spend(now)
        if after is None:  # a known one is counted, and written with its next repeat
            self._ledger = self._ledger.noted(uid, what, series if known is not None else None)
            return
        self._ledger = after.noted(uid, what, None)  # if this fails, the next one is a new one
        if known is None:
            await self._api.post_event(self._event(series.name, uid, what))
        else:
            await self._api.repeat_event(series.name, series.count, self._wall())
        self._ledger = self._ledger.noted(uid, what, series)
        self._trouble = None

    def _event(self, name: str, uid: str, what: Said) -> Event:
        reason = Reason(what.reason)
        loud = REGISTRY[reason].severity in LOUD
        action = "BecomeReady" if what.status == "True" else "BecomeUnready"
        return Event(name, uid, self._wall(), action, what.reason, conditions.message(reason), loud)


def _again(series: Series, now: float) -> Series:
    return replace(series, count=series.count + 1, at=now)
