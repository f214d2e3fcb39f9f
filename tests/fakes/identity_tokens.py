"""ports.IdentityTokens in memory."""

from agent.core.reasons import Fault, Reason
from agent.core.token import Claims
from agent.ports import Trouble


class MemoryTokens:
    """`offered`: what the source has. `fault`: its trouble."""

    def __init__(self) -> None:
        self.offered: Claims | None = None
        self.fault: Fault | None = None
        self.asked = 0
        self._held: Claims | None = None

    async def held(self) -> Claims:
        if self._held is None:
            raise Trouble(Reason.IDENTITY_TOKEN_UNREADABLE)
        return self._held

    async def renew(self) -> None:
        self.asked += 1
        if self.fault is not None:
            raise Trouble(self.fault.reason, self.fault.detail)
        self._held = self.offered or self._held
