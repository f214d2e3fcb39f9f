"""The proxy loop: keeps the linkerd2-proxy of this host at its goal, and reports its state.

It adopts a running proxy before it starts one. It notices the end of a process at once, not at the next poll. One
failed reading changes nothing: the state stays until three in a row are UNREADABLE.
"""

import asyncio
import dataclasses
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.core import control_plane, proxy
from agent.core.crashes import STEADY
from agent.core.facts import UNKNOWN, Control, Maybe, Process, ProxyFact, ProxyState
from agent.core.goals import ProxyGoal
from agent.core.identity import EXPIRY_MARGIN
from agent.core.proxy import Reading
from agent.core.proxy_end import CRASHES, ENDS
from agent.core.reasons import Fault, Reason
from agent.core.slots import Slot
from agent.loops.board import Board, Waiter
from agent.ports import ProxyRuntime, Trouble

POLL = 2.0
# One that works, and that no drain waits for. Its end is reported at once; each reading opens three connections.
POLL_STEADY = 10.0
POLL_DRAINING = 0.5
_DRAINING = (Reason.DRAINING, Reason.RETIRED, Reason.SHUTTING_DOWN, Reason.LEFT, Reason.PROXY_REPLACING)
POLL_STARTING = 0.2
STARTING_FOR = 15.0  # a proxy that is not ready for longer than this after its start is polled as others are

UNREADABLE_AFTER = 3  # readings in a row
UNCERTIFIED_FOR = (
    30.0  # a proxy that was read as uncertified this long will never be certified (docs/linkerd.md §1.6)
)

# At SIGTERM a proxy without a certificate waits for one, as long as the grace period (seen on 2.366), and has no
# connection that could be cut.
PATIENCE_UNCERTIFIED = 2.0
PATIENCE_BEYOND_GRACE = 10.0
# By then the proxy itself has given up: a connection after 1 s, a failing destination after 3 s.
PATIENCE_IDLE = 5.0

STOPPED = Fault(Reason.PROXY_STOPPED)


@dataclass
class _Life:
    """What is known of one process. Times on the loop's clock."""

    process: Process
    adopted: bool
    began: float
    certified: bool | None  # None: not known
    seen_ready: bool = False
    unreadable: int = 0
    uncertified_since: float | None = None
    expires: float | None = None  # by the wall clock, as the proxy last said
    wall_offset: float = 0.0  # wall clock minus loop clock when it said so
    control: Control | None = None
    last_words: Fault | None = None  # why this loop ended it, if it did
    read_at: float | None = None  # when its last reading began; None: there was none


class ProxyLoop:
    """`uid`: the proxy's user. `wall`: seconds since the epoch. `jitter`: a random number in [0, 1). `grace`:
    seconds that the proxy gives open connections at its end."""

    def __init__(
        self,
        runtime: ProxyRuntime,
        board: Board,
        publish: Callable[[ProxyFact], None],
        uid: int,
        wall: Callable[[], float],
        jitter: Callable[[], float],
        grace: float,
        slot: Slot = Slot.MAIN,
    ) -> None:
        self._runtime, self._board, self._publish = runtime, board, publish
        self._uid, self._wall, self._jitter, self._grace = uid, wall, jitter, grace
        self._slot = slot
        self._aspect = "ProxyReady" if slot is Slot.MAIN else "StandbyReady"
        self._news = Waiter(board.goals)
        self._fact: ProxyFact | None = None
        self._failures = 0
        self._not_before = 0.0  # on the loop's clock
        self._restarts = 0

    async def run(self) -> None:
        process = await self._adopt()
        life = None if process is None else _Life(process, True, self._now(), certified=None)
        if life is None:
            self._tell(ProxyFact(ProxyState.STOPPED, fault=STOPPED))
        while True:
            life = life or await self._next_life()
            await self._live(life)
            life = None

    async def _adopt(self) -> Process | None:
        """Do nothing until it is known whether a proxy runs."""
        while True:
            try:
                return await self._runtime.adopt()
            except Trouble as trouble:
                self._tell(ProxyFact(ProxyState.UNREADABLE, fault=trouble.fault))
                await asyncio.sleep(POLL)

    @property
    def _goal(self) -> ProxyGoal:
        goals = self._board.goals.value
        return goals.proxy if self._slot is Slot.MAIN else goals.standby

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _news_before(self, due: float) -> bool:
        """Return True when the goals change before that time; False at that time."""
        rest = due - self._now()
        return rest > 0 and await self._news.wait(rest)

    def _tell(self, fact: ProxyFact) -> None:
        """What names no reading is known from now on."""
        self._fact = dataclasses.replace(fact, read_at=self._now()) if fact.read_at is None else fact
        self._publish(self._fact)

    # without a process --------------------------------------------------------------------------

    async def _next_life(self) -> _Life:
        """Return once a process was wanted and could be started, or one has appeared."""
        wanted = asyncio.ensure_future(self._wanted_life())
        appearing = asyncio.ensure_future(self._runtime.appear())
        try:
            await asyncio.wait({wanted, appearing}, return_when=asyncio.FIRST_COMPLETED)
            return self._begin(appearing.result() if appearing.done() else wanted.result())
        finally:
            await _cancel(wanted, appearing)

    async def _wanted_life(self) -> Process:
        while True:
            if self._goal is ProxyGoal.STOPPED and not await self._abandoned():
                await self._news_before(self._now() + POLL)
                continue
            if self._goal is not ProxyGoal.RUNNING:
                await self._news.wait()
                continue
            if await self._news_before(self._not_before):
                continue
            try:
                process = await self._start_while_wanted()
            except Trouble as trouble:
                self._failed()
                self._restarts += trouble.fault.reason in ENDS  # one that ended before it was seen
                self._tell(ProxyFact(ProxyState.STOPPED, restarts=self._restarts, fault=trouble.fault))
                continue
            if process is not None:
                return process
            assert self._fact is not None
            self._tell(dataclasses.replace(self._fact, launching=False))

    async def _abandoned(self) -> bool:
        """No start is wanted, so the fault of the last start or process no longer counts."""
        fault = STOPPED
        self._board.attempts.over(self._aspect)
        try:
            await self._runtime.abandon()
        except Trouble as trouble:
            fault = trouble.fault
        self._tell(ProxyFact(ProxyState.STOPPED, restarts=self._restarts, fault=fault))
        return fault == STOPPED

    async def _start_while_wanted(self) -> Process | None:
        """If the goal changes while the gate runs, nothing is started."""
        before = self._fact
        assert before is not None
        self._tell(dataclasses.replace(before, launching=True))
        start = asyncio.ensure_future(self._runtime.start())
        try:
            while not start.done() and self._goal is ProxyGoal.RUNNING:
                news = asyncio.ensure_future(self._news.wait())
                try:
                    await asyncio.wait({start, news}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    await _cancel(news)
            return await start if start.done() else None
        finally:
            await _cancel(start)

    def _begin(self, process: Process) -> _Life:
        self._board.attempts.over(self._aspect)
        fault = Fault(Reason.PROXY_STARTING)
        # That it starts is assumed, not read: when systemd reports it, a hook may have proved it ready already.
        seen = None if self._fact is None else self._fact.read_at
        self._tell(ProxyFact(ProxyState.STARTING, process, restarts=self._restarts, fault=fault, read_at=seen))
        return _Life(process, False, self._now(), certified=False)

    def _failed(self) -> None:
        """Wait before the next attempt, longer each time."""
        pause = CRASHES.delay(self._failures, self._jitter())
        self._not_before = self._now() + pause
        self._board.attempts.made(self._aspect, pause, failed=True)
        self._failures += 1

    # with a process -----------------------------------------------------------------------------

    async def _live(self, life: _Life) -> None:
        """From start or adoption to the end of the process."""
        death = asyncio.ensure_future(self._runtime.wait(life.process))
        steering = asyncio.ensure_future(self._steer(life))
        try:
            await asyncio.wait({death, steering}, return_when=asyncio.FIRST_COMPLETED)
            if steering.done():
                steering.result()  # it never returns: this raises what broke it
            self._ended(life, death.result())
        finally:
            await _cancel(death, steering)

    def _ended(self, life: _Life, fault: Fault) -> None:
        if life.last_words == STOPPED:
            self._failures, self._not_before = 0, 0.0
        else:
            self._failures = 0 if self._now() - life.began >= STEADY else self._failures
            self._failed()
            self._restarts += 1
        fault = life.last_words or fault
        # How it ended is known late; that it did says nothing of the next one.
        at = life.began if life.read_at is None else life.read_at
        self._tell(ProxyFact(ProxyState.STOPPED, restarts=self._restarts, fault=fault, read_at=at))

    async def _steer(self, life: _Life) -> None:
        read_at = -float("inf")
        while True:
            if self._goal is ProxyGoal.STOPPED:
                if await self._told_to_end(life):
                    await self._end(life)
                await self._news_before(self._now() + POLL)
                if self._goal is not ProxyGoal.STOPPED:
                    life.last_words = None
                continue
            if await self._news_before(read_at + self._pause(life)):
                continue
            began = self._now()
            self._read(life, reading := await self._runtime.inspect(life.process), began)
            read_at = self._now()
            if (beyond := self._beyond_help(life, reading)) is not None:
                life.last_words = beyond
                await self._try(self._runtime.kill(life.process))

    @property
    def _drains(self) -> bool:
        """The decision waits for a count of what is in flight, from after the moment at which peers no longer
        dial."""
        return self._goal is ProxyGoal.DRAINED or self._board.goals.value.reason in _DRAINING

    def _pause(self, life: _Life) -> float:
        busy = self._fact is not None and self._fact.in_flight != 0
        if self._goal is ProxyGoal.DRAINED or (busy and self._drains):
            return POLL_DRAINING
        starting = self._fact is not None and self._fact.state is ProxyState.STARTING
        unproved = starting or not (life.adopted or life.seen_ready)
        if unproved and self._now() < life.began + STARTING_FOR:
            return POLL_STARTING
        return POLL_STEADY if self._steady(life) else POLL

    def _steady(self, life: _Life) -> bool:
        """The last reading was READY, with an answer of the control plane, and nothing waits for the next one."""
        control = life.control
        works = self._fact is not None and self._fact.state is ProxyState.READY and not life.unreadable
        works = works and not self._expires_soon(life)
        answered = control is not None and control.answered and not control.lost
        return works and answered and self._goal is ProxyGoal.RUNNING and not self._drains

    def _expires_soon(self, life: _Life) -> bool:
        """By the certificate that was last read it would count as expired before the next reading of a steady one,
        although the proxy may have had another for long."""
        left = math.inf if life.expires is None else life.expires - life.wall_offset - self._now()
        return left < POLL_STEADY + EXPIRY_MARGIN

    async def _told_to_end(self, life: _Life) -> bool:
        """SIGTERM. One that nobody could be asked for is asked for again: SIGKILL alone would cut its connections.
        Where it was not answered, it may end nevertheless."""
        began = self._now()
        self._read(life, await self._runtime.inspect(life.process), began)  # has it a certificate by now?
        life.last_words = STOPPED
        return await self._try(self._runtime.terminate(life.process))

    async def _end(self, life: _Life) -> None:
        """SIGKILL, where it does not end in time. A later goal does not change the end of this process."""
        assert self._fact is not None
        self._tell(dataclasses.replace(self._fact, state=ProxyState.STOPPING, fault=Fault(Reason.PROXY_STOPPING)))
        await self._ends(life)
        while True:
            await self._try(self._runtime.kill(life.process))
            await asyncio.sleep(PATIENCE_BEYOND_GRACE)

    async def _ends(self, life: _Life) -> None:
        """Return when its grace period has expired, or earlier when it forwards no connection: then it only waits
        for requests that cannot finish, for example without a control plane."""
        uncertified = life.certified is False
        until = self._now() + (PATIENCE_UNCERTIFIED if uncertified else self._grace + PATIENCE_BEYOND_GRACE)
        idle_since = None
        while (rest := until - self._now()) > 0:
            carried = await self._runtime.carried(life.process)
            self._left(carried)
            idle = carried == 0
            idle_since = (self._now() if idle_since is None else idle_since) if idle else None
            if idle_since is not None and self._now() - idle_since >= PATIENCE_IDLE:
                return
            await asyncio.sleep(min(POLL_DRAINING, rest))

    def _left(self, carried: Maybe[int]) -> None:
        """Publish what the proxy that ends still carries, as it changes."""
        fact = self._fact
        if carried is not UNKNOWN and fact is not None and fact.in_flight != carried:
            self._tell(dataclasses.replace(fact, in_flight=carried))

    async def _try(self, signal: Awaitable[None]) -> bool:
        """Report a failure, and try again later."""
        try:
            await signal
        except Trouble as trouble:
            assert self._fact is not None
            self._tell(dataclasses.replace(self._fact, fault=trouble.fault))
            return False
        return True

    def _beyond_help(self, life: _Life, reading: Reading) -> Fault | None:
        """Why it is replaced, by the latest reading: it may be certified since, and no longer readable. Only if
        the goal wants a proxy: on HOLD nothing is stopped, because the Workload API may be the cause."""
        if self._goal is not ProxyGoal.RUNNING:
            return None
        since = life.uncertified_since
        if reading.certificate_expires == 0.0 and since is not None and self._now() - since >= UNCERTIFIED_FOR:
            return Fault(Reason.PROXY_UNCERTIFIED, f"for {UNCERTIFIED_FOR:g} s, so it is replaced")
        return Fault(Reason.PROXY_WORKER_DEAD) if reading.worker_lost is True else None

    # readings -----------------------------------------------------------------------------------

    def _read(self, life: _Life, reading: Reading, began: float) -> None:
        life.read_at = began
        self._note_certificate(life, reading)
        state, fault, _ = proxy.judge(reading, self._uid, self._now() + life.wall_offset, life.seen_ready)
        life.unreadable = life.unreadable + 1 if state is ProxyState.UNREADABLE else 0
        known = self._fact is not None and self._fact.process == life.process
        if known and 0 < life.unreadable < UNREADABLE_AFTER:
            return
        if reading.control is not UNKNOWN:
            life.control = control_plane.after(life.control, reading.control)
        life.seen_ready = life.seen_ready or state is ProxyState.READY
        expires_at = None if life.expires is None else life.expires - life.wall_offset
        self._tell(
            ProxyFact(
                state,
                life.process,
                life.adopted,
                certificate_expires_at=expires_at,
                in_flight=None if reading.in_flight is UNKNOWN else reading.in_flight,
                counted_at=began if self._drains else None,
                restarts=self._restarts,
                fault=fault,
                control=life.control,
                everywhere=reading.everywhere,
                read_at=began,
            )
        )

    def _note_certificate(self, life: _Life, reading: Reading) -> None:
        """The wall clock is read only when the proxy reports a new expiry: a later jump of the clock does not
        make a certificate expire."""
        expires = reading.certificate_expires
        if expires is UNKNOWN:
            return
        if expires == 0.0:
            life.certified = False
            life.uncertified_since = self._now() if life.uncertified_since is None else life.uncertified_since
        elif expires != life.expires:
            life.certified, life.uncertified_since = True, None
            life.expires, life.wall_offset = expires, self._wall() - self._now()


async def _cancel(*tasks: "asyncio.Future[object] | asyncio.Task[object]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
