"""The folders loop: reports when records cannot be written, and ends an agent that no client can reach."""

import asyncio
from collections.abc import Awaitable, Callable

from agent.core.reasons import Fault, Reason
from agent.ports import Trouble

EVERY = 5.0  # seconds


class FoldersLoop:
    """`look`: raises Trouble. `end`: ends this process, because only a new one gets the folder of its sockets from
    systemd; None: no service manager would start a new one."""

    def __init__(
        self,
        look: Callable[[], Awaitable[None]],
        publish: Callable[[Fault | None], None],
        end: Callable[[], None] | None,
    ) -> None:
        self._look, self._publish, self._end = look, publish, end

    async def run(self) -> None:
        while True:
            fault = await self._fault()
            self._publish(fault)
            if fault is not None and fault.reason is Reason.SOCKETS_GONE and self._end is not None:
                self._end()
            await asyncio.sleep(EVERY)

    async def _fault(self) -> Fault | None:
        try:
            await self._look()
        except Trouble as trouble:
            return trouble.fault
        return None
