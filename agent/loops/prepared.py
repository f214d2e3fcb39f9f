"""The loop of what root has prepared for a restart of the proxy and for a takeover by the second slot.

It holds for exactly the files that it was made from, and no event tells of a change of theirs: a package that adds
a user changes /etc/passwd, and from then on no standby takes over. So they are looked at, which starts no program;
only what no longer holds is a request to the privileged helper, which prepares it again.
"""

import asyncio
from collections.abc import Awaitable, Callable

from agent.core.backoff import Backoff
from agent.core.facts import UNKNOWN, Level
from agent.core.slots import Slot
from agent.loops.board import Board
from agent.ports import Trouble

EVERY = 10.0  # seconds between two looks at the files
RETRY = Backoff(first=EVERY, factor=2.0, most=600.0)


class PreparedLoop:
    """`look`: why nothing that is prepared holds; "": it does. `renew`: asks the privileged helper to read the
    rules, and so to prepare again; raises Trouble. `jitter`: a random number in [0, 1)."""

    def __init__(
        self,
        look: Callable[[], Awaitable[str]],
        renew: Callable[[], Awaitable[object]],
        board: Board,
        publish: Callable[[str], None],
        jitter: Callable[[], float],
    ) -> None:
        self._look, self._renew, self._board, self._publish, self._jitter = look, renew, board, publish, jitter
        self._asked = 0  # times since it was lost
        self._due = 0.0  # when the helper is asked again
        self._trouble = ""  # why it has not answered

    async def run(self) -> None:
        while True:
            lost = await self._look() if self._is_wanted() else ""
            self._publish(f"{lost}{self._trouble}" if lost and self._asked else "")
            if not lost:
                self._asked, self._due, self._trouble = 0, 0.0, ""
            elif self._now() >= self._due:
                await self._ask()
            await asyncio.sleep(EVERY)

    def _is_wanted(self) -> bool:
        """Nothing is prepared but for the redirect of main."""
        redirect = self._board.facts.value.redirect
        return redirect is not UNKNOWN and redirect.inbound is Level.ON and redirect.slot is Slot.MAIN

    async def _ask(self) -> None:
        try:
            await self._renew()
            self._trouble = ""
        except Trouble as trouble:
            self._trouble = f"; {trouble.detail or trouble.fault.entry.text}"
        self._due = self._now() + RETRY.delay(self._asked, self._jitter())
        self._asked += 1

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
