"""The anchors loop: which trust anchors are in force, whether they cover the SVID, and if the mesh has others.

Anchors from the source are not used directly: they are checked against the current SVID and stored as a proposal
for root. They are in force at once only if the configuration sets `follow`.
"""

import asyncio
import dataclasses
from collections.abc import Callable

from agent.core import anchors
from agent.core.facts import UNKNOWN, AnchorsFact, IdentityFact, Svid
from agent.core.reasons import Fault, Reason
from agent.loops.board import Board, Waiter
from agent.ports import Certificates, Trouble, TrustAnchors

FILE_EVERY = 10.0
# One small read of the API server by each host: 5,000 hosts make 17 requests a second of it.
SOURCE_EVERY = 300.0
SOURCE_AGAIN = 30.0  # after trouble


class AnchorsLoop:
    """`wall`: seconds since the epoch. `name`: the host's, for its place in `window` (seconds). `rooted`: an offer
    must share an anchor with those in force, because its source alone is not trusted."""

    def __init__(
        self,
        source: TrustAnchors,
        board: Board,
        publish: Callable[[AnchorsFact], None],
        wall: Callable[[], float],
        name: str,
        window: float,
        *,
        follow: bool = False,
        rooted: bool = False,
    ) -> None:
        self._source, self._board, self._publish, self._wall = source, board, publish, wall
        self._name, self._window, self._follow, self._rooted = name, window, follow, rooted
        self._fact = AnchorsFact()
        self._mine: Certificates = ()
        self._ask_at = 0.0  # on the loop's clock
        self._asked_with: Certificates = ()
        self._judged_by: tuple[Certificates, Svid | None] = ((), None)
        self._proposal: tuple[str, Fault | None] = ("", None)

    async def run(self) -> None:
        news = Waiter(self._board.facts)
        while True:
            seen = self._identity()
            await self._look(seen)
            await self._until_due(news, seen)

    def _identity(self) -> IdentityFact:
        fact = self._board.facts.value.identity
        return IdentityFact() if fact is UNKNOWN else fact

    async def _until_due(self, news: Waiter, seen: IdentityFact) -> None:
        due = asyncio.get_running_loop().time() + FILE_EVERY
        while (rest := due - asyncio.get_running_loop().time()) > 0:
            now = self._identity()
            if (now.svid, now.bundle) != (seen.svid, seen.bundle):
                return
            await news.wait(rest)

    async def _look(self, identity: IdentityFact) -> None:
        await self._read(identity.svid)
        now = asyncio.get_running_loop().time()
        if now >= self._ask_at or identity.bundle != self._asked_with or self._doubtful(identity.svid):
            self._asked_with, self._judged_by = identity.bundle, (self._mine, identity.svid)
            self._ask_at = now + await self._ask(identity)
            if self._follow and self._proposal[0]:
                await self._read(identity.svid)

    def _doubtful(self, svid: Svid | None) -> bool:
        """An offer was refused, for a cause that no longer holds."""
        fault = self._proposal[1]
        refused = fault is not None and fault.reason is Reason.TRUST_ANCHORS_REFUSED
        return refused and self._judged_by != (self._mine, svid)

    # in force -----------------------------------------------------------------------------------

    async def _read(self, svid: Svid | None) -> None:
        try:
            self._mine = await self._source.in_force()
        except Trouble as trouble:
            self._mine = ()
            self._tell(in_force="", proposed=self._proposal[0], expires_at=None, untrusted="", fault=trouble.fault)
            return
        digest = anchors.digest(self._mine)
        if digest == self._proposal[0]:
            self._proposal = ("", None)
        self._judge(digest, svid)

    def _judge(self, digest: str, svid: Svid | None) -> None:
        chain = () if svid is None else svid.chain
        until = self._source.covered_until(self._mine, chain)
        untrusted = "" if svid is None or until is not None else svid.fingerprint
        proposed, fault = self._proposal
        self._tell(
            in_force=digest,
            proposed=proposed,
            expires_at=self._ends(until),
            restart_at=self._restart_at(digest),
            untrusted=untrusted,
            fault=fault,
        )

    def _restart_at(self, digest: str) -> float:
        if digest == self._fact.in_force:
            return self._fact.restart_at
        delay = anchors.restart_delay(self._name, digest, self._window)
        return asyncio.get_running_loop().time() + delay

    def _ends(self, until: float | None) -> float | None:
        """On the loop's clock. It is measured again only after a large change: two clocks always differ."""
        if until is None:
            return None
        ends, before = asyncio.get_running_loop().time() + until - self._wall(), self._fact.expires_at
        return before if before is not None and abs(ends - before) < 3600.0 else ends

    def _tell(self, **changes: object) -> None:
        self._fact = dataclasses.replace(self._fact, **changes)  # type: ignore[arg-type]  # names of fields
        self._publish(self._fact)

    # others -------------------------------------------------------------------------------------

    async def _ask(self, identity: IdentityFact) -> float:
        """Ask the source; seconds until it is asked again."""
        try:
            offer = await self._source.offered(identity.bundle)
            self._proposal = ("", None) if offer is None else await self._propose(offer, identity.svid)
            again = SOURCE_EVERY
        except Trouble as trouble:  # the previous proposal stays
            self._proposal, again = (self._proposal[0], trouble.fault), SOURCE_AGAIN
        if self._mine:
            self._judge(anchors.digest(self._mine), identity.svid)
        return again

    async def _propose(self, offer: Certificates, svid: Svid | None) -> tuple[str, Fault | None]:
        digest = anchors.digest(offer)
        if offer == self._mine:
            return "", None
        if self._rooted and not set(offer) & set(self._mine):
            return "", Fault(Reason.TRUST_ANCHORS_REFUSED, f"{digest[:12]} shares no anchor with those in force")
        if svid is not None and self._source.covered_until(offer, svid.chain) is None:
            return "", Fault(Reason.TRUST_ANCHORS_REFUSED, f"{digest[:12]} does not cover the present SVID")
        await self._source.keep(offer)
        return digest, None if self._follow else Fault(Reason.TRUST_ANCHORS_PROPOSED, digest)
