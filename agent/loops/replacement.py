"""The replacement loop: moves the proxy's replacement from stage to stage, as the facts allow.

It changes the binary while no proxy runs, and it records each stage before any loop acts on it. The decision
loop, which reads the stage, drains, stops and starts. So an agent can be killed at any time, and the next one
continues the replacement.
"""

import asyncio
import dataclasses
from collections.abc import Callable

from agent.core.facts import UNKNOWN, Maybe, PhaseKind, ProxyFact, ProxyState
from agent.core.goals import ProxyGoal
from agent.core.health import Spec, Standing, Sure
from agent.core.levels import redirect_standing
from agent.core.policy_drain import has_left
from agent.core.reasons import Fault, Reason
from agent.core.replacement import AFTERWARDS, STOPPING, News, Replacement, Stage, after
from agent.core.slots import Slot
from agent.core.standings import proved, proxy_standing, standing_of
from agent.loops.board import Board, Waiter
from agent.ports import ReplacementStore, Trouble, Unanswered

CRASHES = 3  # ends of a new proxy after which it has failed
LOOK = 10.0  # seconds that an agent has at least for a proxy that an earlier agent has started
AGAIN = 1.0  # seconds until the privileged helper is asked again, if it has not answered


class ReplacementLoop:
    """`ready_within`: seconds that a proxy has to become ready."""

    def __init__(
        self,
        store: ReplacementStore,
        spec: Spec,
        board: Board,
        publish: Callable[[Replacement | None], None],
        ready_within: float,
    ) -> None:
        self._store, self._spec, self._board, self._publish = store, spec, board, publish
        self._ready_within = ready_within
        self._restarts = (0, 0)  # that the proxies of both slots had when this stage began
        self._unanswered = False  # the privileged helper is to be asked again: it may have acted

    async def run(self) -> None:
        waiter = Waiter(self._board.facts, self._board.goals, self._board.phase)
        self._enter(self._recalled())
        while True:
            change = self._board.facts.value.change
            self._unanswered = False
            news = None if change is None or change.over or self._paused() else await self._news(change)
            if change is not None and (over := self._over(change)) is not None:
                self._remember(after(change, over, self._now()))
            elif news is None or change is None:
                await waiter.wait(self._rest(change))
            else:
                self._remember(after(change, news[0], self._now(), news[1]))

    def ask(self, wanted: str, previous: str, covered: bool = False) -> None:
        """Begin. `covered`: the standby serves in the meantime. Raises Trouble: one is under way, or it cannot be
        recorded; then nothing has changed."""
        self.must_be_over()
        stage = Stage.PREPARING if covered else Stage.LEAVING
        self._remember(Replacement(wanted, previous, stage, since=self._now(), covered=covered))

    def must_be_over(self) -> None:
        """Raises Trouble: one is under way."""
        change = self._board.facts.value.change
        if change is not None and not change.over:
            remedy = "follow it to its end: fairlead status --watch"
            raise Trouble(Reason.PROXY_REPLACING, f"one is under way: {change.stage.value}", remedy=remedy)

    def _recalled(self) -> Replacement | None:
        """A new agent does not extend the time to become ready, but has at least LOOK to read it. Draining begins
        again: the earlier agent may not have published it yet."""
        now = self._now()
        change = self._store.recall(now)
        if change is None:
            return None
        looking = now if change.stage in STOPPING else now - max(0.0, self._ready_within - LOOK)
        return dataclasses.replace(change, since=max(change.since, looking))

    def _remember(self, change: Replacement) -> None:
        try:
            self._store.remember(change)
        except Trouble:
            if change.stage not in AFTERWARDS:
                raise
        self._enter(change)

    def _enter(self, change: Replacement | None) -> None:
        facts = self._board.facts.value
        self._restarts = _restarts(facts.proxy), _restarts(facts.standby)
        self._publish(change)

    def _over(self, change: Replacement) -> News | None:
        """What has changed since it ended: the faults that it ended with hold no longer, for example."""
        phase = self._board.phase.value
        match change.stage:
            case Stage.FAILED if self._main_serves():
                return News.READY_BESIDE if change.covered and change.way_back else News.OVER
            case Stage.FAILED | Stage.BACK_AGAIN if has_left(phase, self._board.facts.value):
                return News.OVER
            case Stage.RENEWING if _stopped(self._board.facts.value.standby):
                return News.STOPPED  # its next start is of the current version since that was set for main
        return None

    def _main_serves(self) -> bool:
        named = self._board.facts.value.active is Slot.MAIN
        return named and all(standing is Sure.GOOD for standing in self._standings())

    def _standings(self) -> list[Standing]:
        facts = self._board.facts.value
        return [proxy_standing(facts, self._now()), redirect_standing(self._spec, facts)]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _paused(self) -> bool:
        """Leave and shutdown come first; the replacement continues when the host is back."""
        phase = self._board.phase.value
        return phase is UNKNOWN or phase.kind in (PhaseKind.LEFT, PhaseKind.SHUTTING_DOWN)

    def _rest(self, change: Replacement | None) -> float | None:
        if self._unanswered:
            return AGAIN
        if change is None or change.over or change.stage is Stage.PREPARING:
            return None
        if change.stage in STOPPING and not change.covered:
            return None
        left = change.since + self._ready_within - self._now()
        return left + 0.001 if left >= 0 else None  # after that, only facts change anything

    async def _news(self, change: Replacement) -> tuple[News, str] | None:
        proxy = self._board.facts.value.proxy
        if proxy is UNKNOWN:
            return None
        match change.stage:
            case Stage.PREPARING:
                return await self._prepared(change)
            case Stage.COVERING:
                return self._covers(change)
            case Stage.WITHDRAWING:
                return await self._withdrawn(change)
            case Stage.LEAVING if change.covered and (why := self._uncovered(change)):
                return await self._undone(change, proxy, why)
            case Stage.LEAVING | Stage.GOING_BACK:
                return await self._swapped(change, proxy) or self._kept(change)
        return self._verified(change, proxy)

    async def _prepared(self, change: Replacement) -> tuple[News, str] | None:
        """No standby runs, and its next start is of the wanted version."""
        if not _stopped(self._board.facts.value.standby):
            return None
        try:
            await self._store.cover(change.wanted)
        except Trouble as trouble:
            self._unanswered = isinstance(trouble, Unanswered) and not self._late(change)
            return None if self._unanswered else (News.NOT_SWAPPED, trouble.detail)
        return News.STOPPED, ""

    def _covers(self, change: Replacement) -> tuple[News, str] | None:
        facts = self._board.facts.value
        named = facts.active is Slot.STANDBY
        if named and all(standing is Sure.GOOD for standing in self._standings()):
            return News.COVERED, ""
        crashed = _restarts(facts.standby) - self._restarts[1] >= CRASHES
        over = crashed or self._late(change)
        return (News.NOT_COVERED, _cause([standing_of(facts.standby, self._now())])) if over else None

    def _late(self, change: Replacement) -> bool:
        return self._now() >= change.since + self._ready_within

    def _uncovered(self, change: Replacement) -> str:
        """Why main is not replaced, while its binary can be the one before: the second proxy has ended since it
        serves, or has not served in time; "": there is no such cause."""
        standby = self._board.facts.value.standby
        if _restarts(standby) != self._restarts[1] and not _was_stopped(standby):
            return f"the second proxy ended after it had begun to serve: {_ending(standby)}"
        late = self._board.facts.value.active is Slot.MAIN and self._late(change)
        return "the second proxy did not serve" if late else ""

    async def _undone(self, change: Replacement, proxy: ProxyFact, why: str) -> tuple[News, str] | None:
        """If main has stopped, its binary may have been changed already."""
        if change.way_back and _stopped(proxy) and (lost := await self._used(change.previous)) is not None:
            return None if self._unanswered else lost
        return News.NOT_COVERED, why

    def _kept(self, change: Replacement) -> tuple[News, str] | None:
        """A new main that was not stopped in time, for the standby did not serve, and that serves by then."""
        named = self._board.facts.value.active is Slot.MAIN
        beside = change.covered and named and self._late(change) and self._main_serves()
        return (News.READY_BESIDE, "") if beside else None

    async def _withdrawn(self, change: Replacement) -> tuple[News, str] | None:
        """No standby runs, or it still serves in place of main; the next start of it is of the current version."""
        if not _stopped(self._board.facts.value.standby) and not self._late(change):
            return None
        try:
            await self._store.cover("")
        except Trouble as trouble:
            self._unanswered = not self._late(change)
            return None if self._unanswered else (News.NOT_SWAPPED, f"{change.detail}; {trouble.detail}")
        return News.STOPPED, ""

    async def _swapped(self, change: Replacement, proxy: ProxyFact) -> tuple[News, str] | None:
        """Only when no proxy runs and the goal starts none."""
        if not _stopped(proxy) or self._board.goals.value.proxy is not ProxyGoal.STOPPED:
            return None
        lost = await self._used(change.wanted if change.version == change.wanted else change.previous)
        if self._unanswered:
            return None
        return lost or (News.STOPPED, "")

    async def _used(self, version: str) -> tuple[News, str] | None:
        """None: main starts with it ("": as before) the next time. No proxy starts without the privileged helper,
        the previous one neither, so it is asked until it answers."""
        try:
            if version:
                await self._store.use(version)
        except Trouble as trouble:
            self._unanswered = isinstance(trouble, Unanswered)
            return News.NOT_SWAPPED, trouble.detail
        return None

    def _verified(self, change: Replacement, proxy: ProxyFact) -> tuple[News, str] | None:
        if self._main_serves():
            beside = change.covered and change.stage is Stage.RESTORING
            return News.READY_BESIDE if beside else News.READY, ""
        if proxy.restarts - self._restarts[0] < CRASHES and not self._late(change):
            return None
        facts = self._board.facts.value
        if facts.active is Slot.MAIN:
            return News.NOT_READY, _cause(self._standings())
        cause = _cause([standing_of(proxy, self._now())])  # what the standings say is of the standby
        serves = change.stage is Stage.RESTORING and proved(facts.serving, self._now()) is True
        return News.NOT_READY, f"{cause}; the second proxy serves" if serves else cause


def _restarts(proxy: Maybe[ProxyFact]) -> int:
    return 0 if proxy is UNKNOWN else proxy.restarts


def _stopped(proxy: Maybe[ProxyFact]) -> bool:
    return proxy is not UNKNOWN and proxy.state is ProxyState.STOPPED and not proxy.launching


def _was_stopped(proxy: Maybe[ProxyFact]) -> bool:
    """By SIGTERM, as when the machine shuts down: that says nothing of its version."""
    return proxy is not UNKNOWN and proxy.fault is not None and proxy.fault.reason is Reason.PROXY_STOPPED


def _ending(proxy: Maybe[ProxyFact]) -> str:
    """How its last process ended, while that is known."""
    fault = None if proxy is UNKNOWN else proxy.fault
    return "" if fault is None else fault.detail or fault.entry.text


def _cause(standings: list[Standing]) -> str:
    faults = (s.detail or s.entry.text for s in standings if isinstance(s, Fault))
    return next(faults, "it is not known whether it is ready")
