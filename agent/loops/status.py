"""The status loop: reads the host's own ExternalWorkload, and writes its Ready condition when it must change.

Economy: it watches instead of polling, and writes only a changed condition. While the API server is away
nothing happens here but a retry with backoff; on its return the truth of that moment is written once.
"""

import asyncio
import dataclasses
from collections.abc import Callable

from agent.core.backoff import Backoff
from agent.core.conditions import conditions, same_status
from agent.core.facts import Workload, WorkloadFact
from agent.core.reasons import Fault, Reason
from agent.loops.board import Board, Waiter
from agent.ports import StatusApi, Trouble

RETRY = Backoff(first=0.5, factor=2.0, most=30.0)
# A host that comes up passes through several reasons for not being ready. What the mesh acts upon, a status
# that flips, is written at once; a reason that alone changes only when it has lasted this long, in seconds.
REASON_LASTS = 5.0
# Between two readings, in seconds, where the server ends its watches at once.
SPACING = 0.5


class StatusLoop:
    """`wall`: now as RFC 3339. `jitter`: a random number in [0, 1)."""

    def __init__(
        self,
        api: StatusApi,
        board: Board,
        publish: Callable[[WorkloadFact], None],
        wall: Callable[[], str],
        jitter: Callable[[], float],
    ) -> None:
        self._api, self._board, self._publish = api, board, publish
        self._wall, self._jitter = wall, jitter
        self._fact = WorkloadFact()
        self._read_fault: Fault | None = None
        self._write_fault: Fault | None = None
        self._failed_reads = 0
        self._reread = asyncio.Event()
        self._reason: Reason | None = None
        self._reason_since = 0.0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="status: follow")
            group.create_task(self._write(), name="status: write")

    # reading ------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                await self._read_and_watch()
                await asyncio.sleep(SPACING)
            except Trouble as trouble:
                self._lost(trouble)
                self._failed_reads += 1
                await self._pause(trouble, self._failed_reads - 1)

    async def _read_and_watch(self) -> None:
        """Returns when the watch has ended quietly or a write asks for a fresh look."""
        self._reread.clear()
        seen = await self._api.read()
        self._failed_reads = 0
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
        async for seen in self._api.watch(version):
            if seen is None:
                raise Trouble(Reason.WORKLOAD_MISSING, "it was deleted")
            self._saw(seen)

    def _saw(self, seen: Workload) -> None:
        before = self._fact.seen
        self._read_fault = None
        if before is not None and before.uid == seen.uid and _older(seen, before):
            return  # a watch event that our own patch has overtaken
        since = self._fact.unready_since
        if seen.ready == "True":
            since = None
        elif since is None:
            since = asyncio.get_running_loop().time()
        self._update(seen=seen, unready_since=since)

    def _lost(self, trouble: Trouble) -> None:
        self._read_fault = trouble.fault
        if trouble.reason is Reason.WORKLOAD_MISSING:
            self._update(seen=None, unready_since=None)
        else:
            self._update()

    # writing ------------------------------------------------------------------------------------

    async def _write(self) -> None:
        waiter, attempt = Waiter(self._board.goals, self._board.facts), 0
        while True:
            try:
                due = await self._write_if_changed()
                attempt = 0
                await waiter.wait(due)
            except Trouble as trouble:
                self._write_fault = trouble.fault
                self._update()
                self._reread.set()
                await self._pause(trouble, attempt)
                attempt += 1

    async def _write_if_changed(self) -> float | None:
        """Seconds until there may be something to write although nothing changes meanwhile; None: never."""
        seen, goals = self._fact.seen, self._board.goals.value
        wanted = None if seen is None else conditions(seen, goals, self._wall())
        if seen is not None and wanted is not None:
            if same_status(seen, wanted) and (left := self._settling(goals.reason)) > 0:
                return left
            written = await self._api.patch_conditions(seen, wanted)
            self._fact = dataclasses.replace(self._fact, writes=self._fact.writes + 1)
            self._saw(written)
        if self._write_fault is not None:
            self._write_fault = None
            self._update()
        return None

    def _settling(self, reason: Reason) -> float:
        """Seconds for which a reason that alone has changed must still last before it is written."""
        now = asyncio.get_running_loop().time()
        if reason is not self._reason:
            self._reason, self._reason_since = reason, now
        return self._reason_since + REASON_LASTS - now

    # both ---------------------------------------------------------------------------------------

    def _update(self, **changes: object) -> None:
        fault = self._read_fault or self._write_fault
        self._fact = dataclasses.replace(self._fact, **changes, fault=fault)  # type: ignore[arg-type]
        self._publish(self._fact)

    async def _pause(self, trouble: Trouble, attempt: int) -> None:
        delay = RETRY.delay(attempt, self._jitter())
        if trouble.retry_after is not None:
            delay = max(delay, trouble.retry_after)
        await asyncio.sleep(delay)


def _older(one: Workload, other: Workload) -> bool:
    """By resourceVersion, where both are the integers that the API server gives."""
    versions = (one.resource_version, other.resource_version)
    return all(v.isdecimal() for v in versions) and int(versions[0]) < int(versions[1])
