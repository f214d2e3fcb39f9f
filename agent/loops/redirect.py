"""The redirect loop: sets the kernel's rules to the goals, and reports the live rules.

Drift is repaired before it is published, so that a `flush ruleset` of another program does not make the host not
ready. The kernel reports drift. Polling finds what it does not report, and is slow only while it reports all. Two
programs that overwrite each other's rules do harm, so repairs are counted: beyond the budget there is a fault and
no repair, until the window has passed. HOLD keeps the live rules.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from agent.core.backoff import Backoff
from agent.core.facts import UNKNOWN, Level, Maybe, RedirectFact
from agent.core.goals import RedirectGoal
from agent.core.reasons import Fault, Reason
from agent.core.redirect import settle
from agent.loops.board import Board, Cell, Waiter
from agent.ports import LiveRedirect, Redirector, Trouble

RECHECK = 30.0  # seconds between two readings of the live rules
SELDOM = 600.0  # while the kernel reports each change: a reading starts the privileged helper and its programs
RETRY = Backoff(first=0.5, factor=2.0, most=RECHECK)
SUPERSEDED = 2.0  # seconds until levels that are decided by an older reading of the proxy are asked for again
WITHIN = 4.8  # seconds for one look; a fact must have a first value within 5
SETS_WITHIN = 9.5  # for a call that sets rules: given up on a busy host, it would begin again from nothing
PACE = 0.5  # seconds between two readings after events of the kernel
REPAIRS, WINDOW = 5, 600.0  # repairs within so many seconds
TURNS = 5  # refusals in a row, of some seconds, after which a turn to the other slot is a fault
TRIES = 3  # failed readings in a row after which the last known levels no longer count


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
        self._blind = 0  # readings that failed in a row
        self._drifts: Cell[int] = Cell(0)  # changes that the kernel has reported
        self._reached: LiveRedirect | None = None  # the live levels when they last were as wanted
        self._refused: tuple[LiveRedirect, Fault] | None = None  # what was wanted last, and why it failed
        self._repairs: list[float] = []  # their times, within the window
        self._contested = False
        self._watching = False  # the kernel reports changes
        self._unjudged = 0  # times in a row that the host's firewall could not be read
        self._fact = RedirectFact()  # as it was last published
        self._turned_on: Cell[int] = Cell(0)  # times that inbound became ON

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._watch_firewall())
            await self._converge()

    async def _listen(self) -> None:
        """Contested rules are only polled."""
        while True:
            try:
                await self._redirector.drifted()
                self._watching = True
                self._drifts.set(self._drifts.value + 1)
                self._board.attempts.tallies.drifts += 1
                await asyncio.sleep(RECHECK if self._contested else PACE)
            except Trouble:
                if self._watching:  # a long wait has begun
                    self._drifts.set(self._drifts.value + 1)
                self._watching = False
                await asyncio.sleep(RECHECK)

    def _recheck(self) -> float:
        live = self._live
        if live is not None and live.superseded:
            return SUPERSEDED
        steady = self._watching and not self._contested and live is not None and live.steady
        return SELDOM if steady else RECHECK

    async def _watch_firewall(self) -> None:
        """Check the host's firewall while inbound is ON: when rules change, and periodically."""
        waiter = Waiter(self._drifts, self._turned_on)
        while True:
            fault = await self._firewalled() if self._fact.inbound is Level.ON else None
            if fault != self._fact.firewall:
                self._say(replace(self._fact, firewall=fault))
            await waiter.wait(max(RECHECK, self._recheck()) if fault is None else RECHECK)
            await asyncio.sleep(PACE)

    async def _firewalled(self) -> Fault | None:
        try:
            async with asyncio.timeout(WITHIN):
                answer = await self._redirector.firewall()
            self._unjudged = 0
            return answer
        except TimeoutError:
            detail = f"no answer from the privileged helper within {WITHIN:g} s"
        except Trouble as trouble:
            detail = trouble.fault.detail
        self._unjudged += 1
        return Fault(Reason.FIREWALL_UNCLEAR, detail) if self._unjudged >= TRIES else self._fact.firewall

    async def _converge(self) -> None:
        """After trouble an event of the kernel does not shorten the wait: the attempt may have caused it."""
        waiter = Waiter(self._board.goals, self._drifts)
        await waiter.wait()
        new_goals = False
        while True:
            goals, drifts = self._board.goals.version, self._drifts.value
            try:
                await self._round(new_goals)
                self._failures = 0
                self._board.attempts.made("RedirectActive", pause := self._recheck())
                await waiter.wait(pause)
            except Trouble:
                pause = RETRY.delay(self._failures, self._jitter())
                self._failures += 1
                self._board.attempts.made("RedirectActive", pause, failed=True)
                await self._new_goals(waiter, goals, pause)
            new_goals = self._board.goals.version != goals and self._drifts.value == drifts

    async def _new_goals(self, waiter: Waiter, version: int, seconds: float) -> None:
        """Return when they are past `version`, or after the pause."""
        try:
            async with asyncio.timeout(seconds):
                while self._board.goals.version == version:
                    await waiter.wait()
        except TimeoutError:
            return

    async def _round(self, new_goals: bool) -> None:
        """After trouble the live rules are read first: a failed call may have set them."""
        if self._live is None or self._failures or not new_goals:
            self._live = await self._look()
        if not self._told:
            self._publish(self._live)
        wanted = self._wanted(self._live)
        if wanted != self._live:
            repair = wanted == self._reached
            if repair and self._spent():
                self._contest(self._live)
                return
            if not repair:
                self._publish(self._live, self._still_refused(wanted), wanted)
            self._live = await self._apply(self._live, wanted)
            self._repairs += [asyncio.get_running_loop().time()] if repair else []
            self._board.attempts.tallies.repairs += repair
        self._live = await self._turned(self._live)
        if not self._live.superseded:
            self._reached = self._live
        self._contested, self._refused = False, None
        self._publish(self._live)

    async def _turned(self, live: LiveRedirect) -> LiveRedirect:
        """It names the slot that is wanted. Levels that are held go with it. A proxy that was read as ready may
        end before its slot is named: that is no fault of the one that serves, unless it lasts."""
        slot = self._board.goals.value.slot
        if slot is None or slot is live.slot:
            return live
        try:
            return await _bounded(self._redirector.turn(slot), SETS_WITHIN)
        except Trouble as trouble:
            if self._failures + 1 >= TURNS:
                self._publish(live, trouble.fault)
            raise

    def _spent(self) -> bool:
        """Whether the budget for repairs is spent; to set rules for the first time is not a repair."""
        since = asyncio.get_running_loop().time() - WINDOW
        self._repairs = [at for at in self._repairs if at > since]
        return len(self._repairs) >= REPAIRS

    def _contest(self, live: LiveRedirect) -> None:
        self._contested = True
        detail = f"{REPAIRS} repairs within {WINDOW:g} s, and the kernel holds {_words(live)}"
        self._publish(live, Fault(Reason.REDIRECT_CONTESTED, detail))

    async def _look(self) -> LiveRedirect:
        try:
            live = await _bounded(self._redirector.check())
        except Trouble as trouble:
            self._blind += 1
            if self._live is None or self._blind >= TRIES:
                self._live, self._told = None, False
                self._say(RedirectFact(fault=trouble.fault))
            raise
        self._blind = 0
        return live

    async def _apply(self, live: LiveRedirect, wanted: LiveRedirect) -> LiveRedirect:
        try:
            goals = RedirectGoal(wanted.inbound.value), RedirectGoal(wanted.outbound.value)
            live = await _bounded(self._redirector.apply(*goals, self._board.judged_at), SETS_WITHIN)
            if live != wanted and not live.superseded:
                raise Trouble(Reason.REDIRECT_FAILED, f"set {_words(wanted)}, and the kernel holds {_words(live)}")
        except Trouble as trouble:
            self._refused = (wanted, trouble.fault)
            self._publish(live, trouble.fault)
            raise
        return live

    def _still_refused(self, wanted: LiveRedirect) -> Fault | None:
        """A fault ends when an attempt succeeds, not when the next one begins."""
        return self._refused[1] if self._refused is not None and self._refused[0] == wanted else None

    def _wanted(self, live: LiveRedirect) -> LiveRedirect:
        """The goals, with the live level in place of HOLD. If a held level is PARTIAL, nothing is changed: rules
        are set for both directions together, and PARTIAL cannot be set."""
        goals = self._board.goals.value
        inbound, outbound = _level(goals.inbound, live.inbound), _level(goals.outbound, live.outbound)
        return live if Level.PARTIAL in (inbound, outbound) else LiveRedirect(*settle(inbound, outbound))

    def _publish(self, live: LiveRedirect, fault: Fault | None = None, wanted: LiveRedirect | None = None) -> None:
        """`wanted`: what is being set now."""
        self._told, wanted = True, wanted or live
        edited = Fault(Reason.REDIRECT_UNAPPROVED, live.edited) if live.edited else None
        suspended = Fault(Reason.REDIRECT_SUSPENDED, live.suspended) if live.suspended else None
        inbound, outbound = _between(live.inbound, wanted.inbound), _between(live.outbound, wanted.outbound)
        firewall = self._fact.firewall if inbound is Level.ON else None
        self._say(RedirectFact(inbound, outbound, fault, edited, suspended, firewall, live.slot))

    def _say(self, fact: RedirectFact) -> None:
        before, self._fact = self._fact.inbound, fact
        self._tell(fact)
        if fact.inbound is Level.ON and before is not Level.ON:
            self._turned_on.set(self._turned_on.value + 1)


def _between(live: Level, wanted: Level) -> Maybe[Level]:
    """ON that is about to end counts as UNKNOWN: its cause may pass before it has ended."""
    return UNKNOWN if live is Level.ON and wanted is not Level.ON else live


def _level(goal: RedirectGoal, live: Level) -> Level:
    return live if goal is RedirectGoal.HOLD else Level(goal.value)


def _words(live: LiveRedirect) -> str:
    return f"inbound {live.inbound.value}, outbound {live.outbound.value}"


async def _bounded(call: Awaitable[LiveRedirect], within: float = WITHIN) -> LiveRedirect:
    try:
        async with asyncio.timeout(within):
            return await call
    except TimeoutError:
        raise Trouble(
            Reason.REDIRECT_FAILED, f"no answer from the privileged helper within {within:g} s"
        ) from None
