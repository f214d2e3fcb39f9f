"""The identity loop of token mode: gives the proxy a token, and reports until when it is valid.

Trouble with the source does not remove a token that the proxy can read: only that token counts.
"""

import asyncio
import dataclasses
from collections.abc import Callable

from agent.core import identity, token
from agent.core.backoff import Backoff
from agent.core.facts import IdentityFact
from agent.core.reasons import Fault, Reason
from agent.loops.attempts import Attempts
from agent.ports import IdentityTokens, Trouble

LOOK_EVERY = 10.0
RETRY = Backoff(first=1.0, factor=2.0, most=60.0)


class TokenLoop:
    """`name`: the identity that the token stands for. `wall`: seconds since the epoch. `jitter`: in [0, 1)."""

    def __init__(
        self,
        tokens: IdentityTokens,
        name: str,
        publish: Callable[[IdentityFact], None],
        wall: Callable[[], float],
        jitter: Callable[[], float],
        attempts: Attempts | None = None,
    ) -> None:
        self._tokens, self._name, self._publish = tokens, name, publish
        self._wall, self._jitter = wall, jitter
        self._fact: IdentityFact | None = None
        self._attempts = attempts or Attempts()

    async def run(self) -> None:
        hung = asyncio.get_running_loop().call_later(identity.FIRST_FACT_WITHIN, self._hung)
        try:
            attempt = 0
            while True:
                attempt = 0 if await self._renewed() else attempt + 1
                pause = RETRY.delay(attempt - 1, self._jitter()) if attempt else LOOK_EVERY
                self._attempts.made("IdentityValid", pause, failed=attempt > 0)
                await asyncio.sleep(pause)
        finally:
            hung.cancel()

    async def _renewed(self) -> bool:
        fault = None
        try:
            await self._tokens.renew()
        except Trouble as trouble:
            fault = trouble.fault
        try:
            self._take(await self._tokens.held(), fault)
        except Trouble as trouble:
            # The reason why there is no new token is more useful than its absence.
            fault = fault or trouble.fault
            self._tell(fault)
        return fault is None

    def _take(self, held: token.Claims, fault: Fault | None) -> None:
        before, svid = self._fact or IdentityFact(), token.as_svid(self._name, held)
        if svid == before.svid:  # its validity was measured when it came
            self._tell(fault)
            return
        now = asyncio.get_running_loop().time()
        left = held.not_after - max(self._wall(), held.not_before)
        self._tell_all(identity.received(before, svid, left, now, fault))

    def _tell(self, fault: Fault | None) -> None:
        self._tell_all(dataclasses.replace(self._fact or IdentityFact(), fault=fault))

    def _tell_all(self, fact: IdentityFact) -> None:
        self._fact = fact
        self._publish(fact)

    def _hung(self) -> None:
        if self._fact is None:
            self._tell(Fault(Reason.IDENTITY_TOKEN_UNREADABLE, "none was received since the start"))
