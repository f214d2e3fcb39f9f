"""The Lease loop: renews the Lease periodically while the decision loop runs.

With an expired Lease, a watcher marks a dead host as not ready. So it is renewed only from READY on, and not by a
process whose decision loop has stopped.

A renewal is a change of the Lease as this agent last saw it. So a second host that renews it too is noticed, and
of the two the one without the address stops.
"""

import asyncio
import dataclasses
import math
from collections import deque
from collections.abc import Callable, Mapping

from agent.core import machines
from agent.core.backoff import Backoff
from agent.core.conditions import vouched_boot
from agent.core.facts import UNKNOWN, LeaseFact, Maybe, PhaseKind
from agent.core.health import Spec
from agent.core.machines import BOOT_ID, Twin
from agent.core.reasons import Fault, Reason
from agent.loops.board import ALIVE_WITHIN, Board, Waiter
from agent.ports import Lease, StatusApi, Trouble

PERIOD = 10.0  # seconds, unless the configuration says otherwise
PERIODS = 4  # for which a watcher waits before it marks the host unreachable
HANDOVER_DURATION = 600  # for a planned stop, restart or upgrade
LONGEST_RETRY = 10.0  # seconds
UNANSWERED = 16  # renewals whose answer was lost: the server may have taken one


class LeaseLoop:
    """`holder`: this host's name. `wall`: now as RFC 3339 with microseconds. `annotations`: more to write.
    `period`: from one renewal to the next, in seconds. `machine`: tells this machine from others; "": not known.

    Hosts that boot together, or that lost the API server together, would renew together ever after. So the pause
    after the first renewal, and after the first one that follows a failure, is a random part of the period."""

    def __init__(
        self,
        api: StatusApi,
        spec: Spec,
        board: Board,
        publish: Callable[[LeaseFact], None],
        holder: str,
        wall: Callable[[], str],
        jitter: Callable[[], float],
        annotations: Callable[[], Mapping[str, str]] = dict,
        period: float = PERIOD,
        machine: str = "",
    ) -> None:
        self._api, self._spec, self._board, self._publish = api, spec, board, publish
        self._holder, self._wall, self._jitter, self._annotations = holder, wall, jitter, annotations
        self._period, self._duration = period, math.ceil(PERIODS * period)
        self._retry = Backoff(first=1.0, factor=2.0, most=min(period, LONGEST_RETRY))
        self._boot_id: Maybe[str] = UNKNOWN
        self._machine, self._mine = machine, False
        self._renewed_at: float | None = None
        self._seen, self._twin = Lease(), Twin()
        self._sent: deque[str] = deque(maxlen=UNANSWERED)

    async def run(self) -> None:
        attempt, spread = 0, True
        while True:
            failed = False
            try:
                await self._once()
                pause = self._period * (1 - self._jitter()) if spread else self._period
                attempt, spread = 0, False
            except Trouble as trouble:
                failed = spread = True
                self._tell(trouble.fault)
                pause = self._retry.delay(attempt, self._jitter(), trouble.retry_after)
                attempt += 1
            self._board.attempts.made("Lease", pause, failed=failed)
            await asyncio.sleep(pause)

    async def _once(self) -> None:
        if not self._mine:
            there = await self._read()
            self._boot_id = there.get(BOOT_ID, "") if self._boot_id is UNKNOWN else self._boot_id
            self._mine = True
            self._tell(self._duplicated())
        await self._ready()
        if self._board.alive(asyncio.get_running_loop().time(), ALIVE_WITHIN):
            await self._renew(self._duration)

    async def _read(self) -> Mapping[str, str]:
        """The annotations of a Lease that this host may renew. A Lease that another machine renews stays as it is:
        that machine may be serving. Raises Trouble."""
        before, self._seen = self._seen, await self._api.read_lease()
        there = self._seen.annotations
        fault = machines.fault(there.get(machines.MACHINE, ""), self._machine, self._spec.workload)
        first = not before.version
        if not (fault or first) and self._seen.renew_time not in ("", before.renew_time, *self._sent):
            self._twin = self._twin.renewed(asyncio.get_running_loop().time())
        if fault or (fault := self._yields()):
            self._mine = False
            raise Trouble(fault.reason, fault.detail, remedy=fault.remedy)
        return there

    def _duplicated(self) -> Fault | None:
        if not self._twin.proved(asyncio.get_running_loop().time()):
            return None
        holder, boot = self._seen.holder or "another host", self._seen.annotations.get(BOOT_ID, "not known")
        detail = f"{holder} renews it too; boot id in the Lease: {boot}, here: {self._spec.boot_id}"
        return Fault(Reason.HOST_DUPLICATED, detail)

    def _yields(self) -> Fault | None:
        """Why this host leaves the Lease to another one."""
        fault = self._duplicated()
        facts = dataclasses.replace(self._board.facts.value, lease=LeaseFact(fault=fault))
        return None if machines.of_another(self._spec, facts) is None else fault

    async def _ready(self) -> None:
        waiter = Waiter(self._board.facts)
        try:
            while self._board.facts.value.ready_at is None:
                await waiter.wait()
        finally:
            waiter.close()

    async def _renew(self, duration: int) -> None:
        boot = vouched_boot(self._spec, self._board.facts.value, self._board.goals.value)
        annotations = {
            **self._annotations(),
            **({} if boot is None else {BOOT_ID: boot}),
            **({machines.MACHINE: self._machine} if self._machine else {}),
        }
        renewal = Lease(self._holder, self._wall(), duration, annotations, self._seen.version)
        self._sent.append(renewal.renew_time)
        try:
            self._seen = await self._written(renewal)
        except Trouble as trouble:
            # The cluster's policy refuses another machine than the one that the Lease names: read which it is.
            self._mine = self._mine and trouble.reason is not Reason.API_REFUSED
            raise
        self._boot_id = self._boot_id if boot is None else boot
        self._renewed_at = asyncio.get_running_loop().time()
        self._tell(self._duplicated())

    async def _written(self, renewal: Lease) -> Lease:
        """A conflict costs one reading, and never a renewal: annotations of operators are changes too."""
        try:
            return await self._api.renew_lease(renewal)
        except Trouble as trouble:
            if trouble.reason is not Reason.API_CONFLICT:
                raise
        await self._read()
        return await self._api.renew_lease(dataclasses.replace(renewal, version=""))

    def _tell(self, fault: Fault | None) -> None:
        self._publish(LeaseFact(self._boot_id, self._renewed_at, fault))

    async def handover(self) -> None:
        """Before a planned end of the agent: extend the Lease to ten minutes, if this agent has renewed it. Not on
        a host that shuts down: no agent follows soon, and a Ready that it could not remove must expire. Nor while
        another host has the Lease."""
        phase = self._board.phase.value
        going = phase is not UNKNOWN and phase.kind is PhaseKind.SHUTTING_DOWN
        if self._renewed_at is not None and not going and not self._yields():
            await self._renew(HANDOVER_DURATION)
