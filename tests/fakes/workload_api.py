"""A WorkloadApi in memory, for tests of the loops in virtual time. The contract suite runs on it too."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from agent.core.facts import Svid
from agent.core.reasons import Reason
from agent.ports import Trouble

ID = "spiffe://example.org/vm-1"


def svid(
    spiffe_id: str = ID, key_type: str = "EC P-256", not_before: float = 0.0, not_after: float = 60.0
) -> Svid:
    return Svid(spiffe_id, key_type, not_before, not_after)


class MemoryWorkloadApi:
    """It does not answer until it has something to serve. `within`: seconds for the first answer; None: hangs
    without end. `opened`: when each watch began, on the loop's clock. `open`: watches that have not ended."""

    def __init__(self, within: float | None = 4.0) -> None:
        self.opened: list[float] = []
        self.open = 0
        self.within = within
        self._now: Sequence[Svid] | Reason | None = None
        self._version = 0
        self._changed = asyncio.Event()

    def serve(self, *svids: Svid) -> None:
        """Every watch gets this, open or new."""
        self._set(svids)

    def fail(self, reason: Reason) -> None:
        """Every watch ends with this, open or new."""
        self._set(reason)

    def quiet(self) -> None:
        """A new watch gets nothing."""
        self._set(None)

    async def watch(self) -> AsyncGenerator[Sequence[Svid], None]:
        self.opened.append(asyncio.get_running_loop().time())
        self.open += 1
        told = None
        try:
            while True:
                svids = await self._newer_than(told, self.within if told is None else None)
                told = self._version
                yield svids
        finally:
            self.open -= 1

    async def _newer_than(self, told: int | None, within: float | None) -> Sequence[Svid]:
        try:
            async with asyncio.timeout(within):
                while self._now is None or told == self._version:
                    await self._changed.wait()
        except TimeoutError:
            raise Trouble(Reason.WORKLOAD_API_SILENT) from None
        if isinstance(self._now, Reason):
            raise Trouble(self._now)
        return self._now

    def _set(self, now: Sequence[Svid] | Reason | None) -> None:
        self._now = now
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()
