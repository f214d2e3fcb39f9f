"""The redirect loop: brings the kernel's rules to the goals, and says what the kernel holds.

What drifted is repaired before anybody is told, so that a `flush ruleset` of somebody else's does not make
the host unready. HOLD keeps what is live, whatever it is.
"""

import asyncio
from collections.abc import Awaitable, Callable

from agent.core.backoff import Backoff
from agent.core.facts import Level, RedirectFact
from agent.core.goals import RedirectGoal
from agent.core.reasons import Fault, Reason
from agent.core.redirect import settle
from agent.loops.board import Board, Waiter
from agent.ports import LiveRedirect, Redirector, Trouble

RECHECK = 30.0  # seconds between two looks at the live rules
RETRY = Backoff(first=0.5, factor=2.0, most=RECHECK)
WITHIN = 4.8  # seconds for one call; a fact must have a first value within 5
TRIES = 3  # failed looks in a row after which the levels last seen are no longer believed


class RedirectLoop:
    """`jitter`: a random number in [0, 1)."""

    def __init__(
        self,
        redirector: Redirector,
        board: Board,
        publish: Callable[[RedirectFact], None],
        jitter: Callable[[], float],
    ) -> None:
        self._redirector, self._board, self._jitter = redirector, board, jitter
        self._tell = publish
        self._live: LiveRedirect | None = None
        self._told = False  # the board holds levels
        self._failures = 0  # rounds that failed in a row
        self._blind = 0  # looks that failed in a row

    async def run(self) -> None:
        waiter = Waiter(self._board.goals)
        await waiter.wait()
        new_goals = False
        while True:
            try:
                await self._round(new_goals)
                self._failures = 0
                pause = RECHECK
            except Trouble:
                pause = RETRY.delay(self._failures, self._jitter())
                self._failures += 1
            new_goals = await waiter.wait(pause)

    async def _round(self, new_goals: bool) -> None:
        """After trouble what is live is looked at first: a call that failed may have done its work."""
        if self._live is None or self._failures or not new_goals:
            self._live = await self._look()
        if not self._told:
            self._publish(self._live)
        wanted = self._wanted(self._live)
        if wanted != self._live:
            self._live = await self._apply(self._live, wanted)
        self._publish(self._live)

    async def _look(self) -> LiveRedirect:
        try:
            live = await _bounded(self._redirector.check())
        except Trouble as trouble:
            self._blind += 1
            if self._live is None or self._blind >= TRIES:
                self._live, self._told = None, False
                self._tell(RedirectFact(fault=trouble.fault))
            raise
        self._blind = 0
        return live

    async def _apply(self, live: LiveRedirect, wanted: LiveRedirect) -> LiveRedirect:
        try:
            goals = RedirectGoal(wanted.inbound.value), RedirectGoal(wanted.outbound.value)
            live = await _bounded(self._redirector.apply(*goals))
            if live != wanted:
                raise Trouble(Reason.REDIRECT_FAILED, f"set {_words(wanted)}, and the kernel holds {_words(live)}")
        except Trouble as trouble:
            self._publish(live, trouble.fault)
            raise
        return live

    def _wanted(self, live: LiveRedirect) -> LiveRedirect:
        """The goals, with what is live in place of HOLD. To hold what is PARTIAL is to touch nothing: rules
        are set for both directions at once, and there is no way to set those again."""
        goals = self._board.goals.value
        inbound, outbound = _level(goals.inbound, live.inbound), _level(goals.outbound, live.outbound)
        return live if Level.PARTIAL in (inbound, outbound) else LiveRedirect(*settle(inbound, outbound))

    def _publish(self, live: LiveRedirect, fault: Fault | None = None) -> None:
        self._told = True
        self._tell(RedirectFact(live.inbound, live.outbound, fault))


def _level(goal: RedirectGoal, live: Level) -> Level:
    return live if goal is RedirectGoal.HOLD else Level(goal.value)


def _words(live: LiveRedirect) -> str:
    return f"inbound {live.inbound.value}, outbound {live.outbound.value}"


async def _bounded(call: Awaitable[LiveRedirect]) -> LiveRedirect:
    try:
        async with asyncio.timeout(WITHIN):
            return await call
    except TimeoutError:
        raise Trouble(Reason.REDIRECT_FAILED, f"no answer from the door within {WITHIN:g} s") from None
