"""The replacement loop: takes the proxy's replacement from stage to stage, as the facts allow.

It does two things and no third: it has the binaries swapped while nothing runs, and it remembers the stage, each
time before anybody acts on it. Draining, stopping and starting are the decision's, which knows the stage. So an
agent that is killed anywhere leaves nothing half done that the next one does not find.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable

from agent.core import policy
from agent.core.facts import UNKNOWN, PhaseKind, ProxyFact, ProxyState
from agent.core.goals import ProxyGoal
from agent.core.policy import Spec, Standing, Sure
from agent.core.reasons import Fault, Reason
from agent.core.replacement import STOPPING, News, Replacement, Stage, after
from agent.loops.board import Board, Waiter
from agent.ports import ReplacementStore, Trouble

CRASHES = 3  # so often a new proxy may end before it is given up
LOOK = 10.0  # seconds that an agent has at least to see a proxy that an agent before it has started


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
        self._restarts = 0  # that the proxy had when this stage began

    async def run(self) -> None:
        waiter = Waiter(self._board.facts, self._board.goals, self._board.phase)
        self._enter(self._recalled())
        while True:
            change = self._board.facts.value.replacement
            news = None if change is None or change.over or self._paused() else await self._news(change)
            if change is not None and self._is_over(change):
                self._clear(change)
            elif news is None or change is None:
                await waiter.wait(self._rest(change))
            else:
                self._remember(after(change, news[0], self._now(), news[1]))

    def ask(self, wanted: str, previous: str) -> None:
        """Begin. Raises Trouble: one is under way, or it cannot be remembered; then nothing has changed."""
        self.must_be_over()
        self._remember(Replacement(wanted, previous, since=self._now()))

    def must_be_over(self) -> None:
        """Raises Trouble: one is under way."""
        change = self._board.facts.value.replacement
        if change is not None and not change.over:
            remedy = "follow it to its end: fairlead status --watch"
            raise Trouble(Reason.PROXY_REPLACING, f"one is under way: {change.stage.value}", remedy=remedy)

    def _recalled(self) -> Replacement | None:
        """A proxy has no more time to become ready by another agent, but that one has time to look. Draining
        begins anew: the agent before may have told the mesh nothing yet."""
        now = self._now()
        change = self._store.recall(now)
        if change is None:
            return None
        looking = now if change.stage in STOPPING else now - max(0.0, self._ready_within - LOOK)
        return dataclasses.replace(change, since=max(change.since, looking))

    def _remember(self, change: Replacement) -> None:
        self._store.remember(change)
        self._enter(change)

    def _enter(self, change: Replacement | None) -> None:
        proxy = self._board.facts.value.proxy
        self._restarts = 0 if proxy is UNKNOWN else proxy.restarts
        self._publish(change)

    def _is_over(self, change: Replacement) -> bool:
        """Nothing that it ended with holds any more."""
        phase = self._board.phase.value
        match change.stage:
            case Stage.FAILED if all(standing is Sure.GOOD for standing in self._standings()):
                return True
            case Stage.FAILED | Stage.BACK_AGAIN:
                return policy.has_left(phase, self._board.facts.value)
        return False

    def _clear(self, change: Replacement) -> None:
        """Nothing depends on this record, so one that cannot be written is judged anew by the next agent."""
        cleared = after(change, News.OVER, self._now())
        with contextlib.suppress(Trouble):
            self._store.remember(cleared)
        self._enter(cleared)

    def _standings(self) -> list[Standing]:
        facts = self._board.facts.value
        return [policy.proxy_standing(facts, self._now()), policy.redirect_standing(self._spec, facts)]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _paused(self) -> bool:
        """A host that goes for good goes first; what was begun goes on when it is back."""
        phase = self._board.phase.value
        return phase is UNKNOWN or phase.kind in (PhaseKind.LEFT, PhaseKind.SHUTTING_DOWN)

    def _rest(self, change: Replacement | None) -> float | None:
        if change is None or change.over or change.stage in STOPPING:
            return None
        return max(0.0, change.since + self._ready_within - self._now()) + 0.001

    async def _news(self, change: Replacement) -> tuple[News, str] | None:
        proxy = self._board.facts.value.proxy
        if proxy is UNKNOWN:
            return None
        return await self._swapped(change, proxy) if change.stage in STOPPING else self._verified(change, proxy)

    async def _swapped(self, change: Replacement, proxy: ProxyFact) -> tuple[News, str] | None:
        """Only when nothing runs and nothing will be started: the goal says so too."""
        stopped = proxy.state is ProxyState.STOPPED and not proxy.launching
        if not stopped or self._board.goals.value.proxy is not ProxyGoal.STOPPED:
            return None
        version = change.wanted if change.version == change.wanted else change.previous
        try:
            if version:
                await self._store.use(version)
        except Trouble as trouble:
            return News.NOT_SWAPPED, trouble.detail
        return News.STOPPED, ""

    def _verified(self, change: Replacement, proxy: ProxyFact) -> tuple[News, str] | None:
        standings = self._standings()
        if all(standing is Sure.GOOD for standing in standings):
            return News.READY, ""
        crashed = proxy.restarts - self._restarts >= CRASHES
        if not crashed and self._now() < change.since + self._ready_within:
            return None
        faults = (s.detail or s.entry.text for s in standings if isinstance(s, Fault))
        return News.NOT_READY, next(faults, "it is not known whether it is ready")
