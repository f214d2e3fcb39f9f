"""The status loop: reads the host's ExternalWorkload, and writes its conditions when they must change.

It watches instead of polling, and writes only differences (`core.write_budget`). While the API server is not
reachable it only retries with backoff; afterwards it writes the current conditions once.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

from agent.core import conditions, flaps, machines, numbers, write_budget
from agent.core.backoff import Backoff
from agent.core.conditions import Word
from agent.core.facts import UNKNOWN, Workload, WorkloadFact
from agent.core.foreign_edits import Edits, unreachable
from agent.core.health import Spec
from agent.core.reasons import Fault, Reason
from agent.core.write_budget import Heard
from agent.loops.board import Board, Waiter
from agent.ports import StatusApi, Trouble

RETRY = Backoff(first=0.5, factor=2.0, most=30.0)
# Between two readings, in seconds, if the server ends its watches at once.
SPACING = 0.5
# An API server that restarts ends all watches of a fleet together. One that ended before its time, in seconds, is
# opened again within the second of these, by chance, or after the next renewal of the Lease.
WATCHED, SPREAD = 240.0, 30.0
# A watch that ends sooner than this, in seconds, and without an event, was refused: its version is too old.
REFUSED = 5.0
# What a renewal of the Lease proves to be over.
CUT_OFF = frozenset({Reason.API_UNREACHABLE, Reason.API_TIMEOUT})
# How a watch ends whose API server ends.
BROKEN_OFF = CUT_OFF | {Reason.API_FAILING}
# For one of these reasons, not Ready is not a failure: an operator took the host out, so it is not a flap.
TAKEN_OUT = frozenset({Reason.DRAINING, Reason.LEFT, Reason.SHUTTING_DOWN, Reason.PROXY_REPLACING, Reason.RETIRED})


class StatusLoop:
    """`wall`: now as RFC 3339. `jitter`: a random number in [0, 1)."""

    def __init__(
        self,
        api: StatusApi,
        spec: Spec,
        board: Board,
        publish: Callable[[WorkloadFact], None],
        wall: Callable[[], str],
        jitter: Callable[[], float],
    ) -> None:
        self._api, self._spec, self._board, self._publish = api, spec, board, publish
        self._wall, self._jitter = wall, jitter
        self._fact = WorkloadFact()
        self._read_fault: Fault | None = None
        self._write_fault: Fault | None = None
        self._failed_reads = 0
        self._watched_from: float | None = None  # since when this watch is open
        self._too_old = ""  # the version of the ExternalWorkload that the API server no longer has
        self._reread = asyncio.Event()
        self._heard, self._edits = Heard(), Edits()
        self._aside_at: float | None = None  # the last write that did not flip Ready
        self._ready = ""  # what this process last wrote, or first found, of Ready
        self._unreachable_at: float | None = None  # since when the watcher has marked this host unreachable

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="status: follow")
            group.create_task(self._write(), name="status: write")

    # reading ------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            self._watched_from = None
            try:
                await self._read_and_watch()
                await self._rest(failed=False)
            except Trouble as trouble:
                self._lost(trouble)
                self._failed_reads += 1
                if self._watched_from is not None and trouble.reason in BROKEN_OFF:
                    await self._rest(failed=True)
                else:
                    await self._pause("WorkloadMatches", trouble, self._failed_reads - 1)

    async def _rest(self, *, failed: bool) -> None:
        """Before the next watch. A write that needs a reading does not wait: its own pauses space them."""
        if self._reread.is_set():
            return
        early = self._watched_from is not None and _now() - self._watched_from < WATCHED
        pause = (SPREAD - SPACING) * self._jitter() if early else 0.0
        if failed:
            self._board.attempts.made("WorkloadMatches", SPACING + pause, failed=True)
        await asyncio.sleep(SPACING)
        await self._renewed(pause, self._reread.is_set)

    async def _renewed(self, seconds: float, enough: Callable[[], bool]) -> None:
        """Return after so long, or once the Lease was renewed: then the API server is there again."""
        before, waiter = self._renewed_at(), Waiter(self._board.facts)
        try:
            async with asyncio.timeout(seconds):
                while self._renewed_at() == before and not enough():
                    await waiter.wait()
        except TimeoutError:
            return
        finally:
            waiter.close()

    def _renewed_at(self) -> float | None:
        lease = self._board.facts.value.lease
        return None if lease is UNKNOWN else lease.renewed_at

    async def _read_and_watch(self) -> None:
        """Return when the watch has ended without an error, or a write needs a new reading."""
        self._reread.clear()
        seen = await self._api.read()
        self._failed_reads, self._watched_from = 0, _now()
        self._board.attempts.over("WorkloadMatches")
        self._saw(seen)
        watch = asyncio.create_task(self._watch(seen.resource_version), name="status: watch")
        again = asyncio.create_task(self._reread.wait(), name="status: reread")
        try:
            await asyncio.wait({watch, again}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
        finally:
            watch.cancel()
            again.cancel()
            await asyncio.gather(watch, again, return_exceptions=True)

    async def _watch(self, version: str) -> None:
        """Where the API server no longer has that version, from what is there. One that was restarted has no
        earlier ones, and the version of an object that is not written stays: each watch would end at once."""
        if version != self._too_old:
            began = _now()
            if await self._changes(version) or _now() - began > REFUSED:
                return
            self._too_old = version
        await self._changes("")

    async def _changes(self, version: str) -> bool:
        """Until the watch ends. There were some."""
        some = False
        async for seen in self._api.watch(version):
            if seen is None:
                raise Trouble(Reason.WORKLOAD_MISSING, "it was deleted")
            self._saw(seen)
            some = True
        return some

    def _saw(self, seen: Workload) -> None:
        """By a reading or the watch."""
        self._read_fault = None
        before = self._fact.seen
        if before is not None and before.uid == seen.uid and _older(seen, before):
            self._update()
            return  # a watch event that our own patch has overtaken
        if seen.uid != self._edits.uid:
            self._ready = seen.ready  # another object: the state of the old one does not count
        self._edits = self._edits.seen(seen, _now())
        self._take(seen)

    def _take(self, seen: Workload) -> None:
        since = self._fact.unready_since
        if seen.ready == "True":
            since = None
        elif since is None:
            since = _now()
        if not unreachable(seen):
            self._unreachable_at = None
        elif self._unreachable_at is None:
            self._unreachable_at = _now()
        self._update(seen=seen, unready_since=since, edited=self._edits.fault)

    def _lost(self, trouble: Trouble) -> None:
        self._read_fault = trouble.fault
        if trouble.reason is Reason.WORKLOAD_MISSING:
            self._update(seen=None, unready_since=None)
        else:
            self._update()

    # writing ------------------------------------------------------------------------------------

    async def _write(self) -> None:
        waiter, attempt = Waiter(self._board.goals, self._board.facts, self._board.phase), 0
        while True:
            try:
                due = await self._write_if_due()
                attempt = 0
                self._board.attempts.over("Ready")
                await waiter.wait(due)
            except Trouble as trouble:
                self._write_fault = trouble.fault
                self._update()
                self._reread.set()
                await self._pause("Ready", trouble, attempt)
                attempt += 1

    async def _write_if_due(self) -> float | None:
        """Seconds until a write may be due without another change; None: none is."""
        board, seen, now = self._board, self._fact.seen, _now()
        wanted = conditions.words(self._spec, board.phase.value, board.facts.value, board.goals.value, now)
        self._heard = self._heard.hear(wanted, now)
        self._forget_edits(now)
        # Until the Lease was read once, it may be another machine's, which writes these conditions.
        if seen is None or not machines.whose_is_known(board.facts.value.lease) or self._unheard(wanted):
            return None
        plan = write_budget.plan(seen, self._heard, now, self._aside_at)
        if plan.words and not self._news(wanted) and (left := self._edits.patience(now)) > 0:
            return left
        if plan.words:
            await self._patch(seen, plan.words)
        if self._write_fault is not None:
            self._write_fault = None
            self._update()
        return plan.due

    async def _patch(self, seen: Workload, words: Sequence[Word]) -> None:
        wanted = conditions.written(seen, words, self._wall())
        self._edits = self._edits.sending(seen, wanted)
        answer = await self._api.patch_conditions(seen, wanted)
        if not conditions.flips(seen, words):
            self._aside_at = _now()
        self._edits = self._edits.sent(answer)
        self._fact = dataclasses.replace(self._fact, writes=self._fact.writes + 1, fell_at=self._falls(answer))
        self._ready = answer.ready
        if not (self._fact.seen and self._fact.seen.uid == answer.uid and _older(answer, self._fact.seen)):
            self._take(answer)

    def _falls(self, answer: Workload) -> tuple[float, ...]:
        """The recent flaps, with this write if it was one."""
        fell = self._ready == "True" != answer.ready and self._board.goals.value.reason not in TAKEN_OUT
        return flaps.recent((*self._fact.fell_at, _now()) if fell else self._fact.fell_at, _now())

    def _news(self, said: Sequence[Word]) -> bool:
        """Ready differs from what we last wrote: a change of state, not a correction of a foreign edit."""
        return any(word.type == conditions.READY and word.status != self._ready for word in said)

    def _unheard(self, wanted: Sequence[Word]) -> bool:
        """The watcher removed Ready and we have not renewed the Lease since, so we may be unreachable."""
        renewed = self._renewed_at()
        back = any(word.type == conditions.READY and word.status == "True" for word in wanted)
        since = self._unreachable_at
        return back and since is not None and (renewed is None or renewed <= since)

    def _forget_edits(self, now: float) -> None:
        if self._edits.forgotten(now):
            self._edits = dataclasses.replace(self._edits, fault=None)
            self._update(edited=None)

    # both ---------------------------------------------------------------------------------------

    def _update(self, **changes: object) -> None:
        fault = self._read_fault or self._write_fault
        self._fact = dataclasses.replace(self._fact, **changes, fault=fault)  # type: ignore[arg-type]  # names of fields
        self._publish(self._fact)

    async def _pause(self, what: str, trouble: Trouble, attempt: int) -> None:
        pause = RETRY.delay(attempt, self._jitter(), trouble.retry_after)
        self._board.attempts.made(what, pause, failed=True)
        if trouble.reason in CUT_OFF:
            await self._renewed(pause, lambda: False)
        else:
            await asyncio.sleep(pause)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _older(one: Workload, other: Workload) -> bool:
    """By resourceVersion, where both are the integers that the API server gives."""
    first, second = numbers.whole(one.resource_version), numbers.whole(other.resource_version)
    return first is not None and second is not None and first < second
