"""The identity loop: follows the Workload API and reports which SVID this host has, and until when.

Trouble with the source does not remove a received SVID: it stays valid until it expires. A malformed SVID counts
as such trouble. Only a well-formed SVID that does not match removes it.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import aclosing

from agent.core import identity
from agent.core.backoff import Backoff
from agent.core.facts import IdentityFact, Svid
from agent.core.reasons import Fault, Reason
from agent.loops.attempts import Attempts
from agent.ports import Trouble, WorkloadApi

RETRY = Backoff(first=0.2, factor=2.0, most=5.0)


class IdentityLoop:
    """`wall`: now, in seconds since the epoch. `jitter`: a random number in [0, 1)."""

    def __init__(
        self,
        api: WorkloadApi,
        spiffe_id: str,
        publish: Callable[[IdentityFact], None],
        wall: Callable[[], float],
        jitter: Callable[[], float],
        hint: str = "",
        attempts: Attempts | None = None,
    ) -> None:
        self._api, self._spiffe_id, self._publish, self._hint = api, spiffe_id, publish, hint
        self._wall, self._jitter = wall, jitter
        self._fact: IdentityFact | None = None
        self._attempts = attempts or Attempts()

    async def run(self) -> None:
        hung = asyncio.get_running_loop().call_later(identity.FIRST_FACT_WITHIN, self._hung)
        try:
            await self._follow_for_ever()
        finally:
            hung.cancel()

    async def _follow_for_ever(self) -> None:
        loop, attempt = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            try:
                await self._follow()
            except Trouble as trouble:
                self._tell(fault=trouble.fault)
            # A stream that repeatedly delivers and breaks at once is not a success: only one that lasted is.
            attempt = 0 if loop.time() - began > RETRY.most else attempt
            pause = RETRY.delay(attempt, self._jitter())
            self._attempts.made("IdentityValid", pause, failed=True)
            await asyncio.sleep(pause)
            attempt += 1

    async def _follow(self) -> None:
        """Follow one stream. It is closed while the clock is wrong: a new stream delivers the same SVIDs and
        checks them again, so a corrected clock is noticed before the next rotation."""
        async with aclosing(self._api.watch()) as updates:
            async for svids in updates:
                self._attempts.over("IdentityValid")
                fault = self._received(svids)
                if fault is not None and fault.reason is Reason.CLOCK_SKEWED:
                    return

    def _received(self, svids: Sequence[Svid]) -> Fault | None:
        held = self._fact or IdentityFact()
        chosen = identity.choose(svids, self._spiffe_id, self._hint)
        if isinstance(chosen, Svid) and chosen == held.svid:
            # The source repeats an SVID whenever anything else changes. That is not an update: its validity was
            # measured when it first arrived, so a later jump of the wall clock does not change it.
            self._tell(bundle=chosen.bundle, fault=None)
            return None
        match identity.usable(svids, self._spiffe_id, self._wall(), self._hint):
            case Fault(Reason.IDENTITY_MALFORMED) as fault:
                self._tell(fault=fault)
                return fault
            case Fault() as fault:
                self._tell(svid=None, expires_at=0.0, rotates_at=0.0, fault=fault)
                return fault
            case (svid, left):
                now = asyncio.get_running_loop().time()
                self._tell_all(identity.received(held, svid, left, now, None))
                return None

    def _tell(self, **changes: object) -> None:
        # Keywords of object, because any field may be among them.
        self._tell_all(dataclasses.replace(self._fact or IdentityFact(), **changes))  # type: ignore[arg-type]  # names of fields

    def _tell_all(self, fact: IdentityFact) -> None:
        self._fact = fact
        self._publish(fact)

    def _hung(self) -> None:
        if self._fact is None:
            self._tell(fault=Fault(Reason.WORKLOAD_API_SILENT, "no answer since the start"))
