import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from agent.core import anchors
from agent.core.facts import AnchorsFact, IdentityFact, Svid
from agent.core.reasons import Reason
from agent.loops.anchors import AnchorsLoop
from agent.loops.board import Board
from tests.fakes.trust_anchors import MemoryTrustAnchors
from tests.loops.recording import ShiftedClock, recorded
from tests.loops.running import running

OLD, NEW = b"old root", b"new root"
SVID = Svid("spiffe://example.org/vm-1", "EC P-256", 0, 60, chain=(b"leaf", OLD))
NEXT = Svid("spiffe://example.org/vm-1", "EC P-256", 30, 90, chain=(b"next leaf", NEW))


class Desk(ShiftedClock):
    def __init__(self, source: MemoryTrustAnchors, *, follow: bool = False, rooted: bool = False) -> None:
        self.board, self.facts = Board(), list[AnchorsFact]()
        self.loop = AnchorsLoop(
            source,
            self.board,
            recorded("anchors", self.facts),
            self.wall_now,
            "shop/db-1",
            3600.0,
            follow=follow,
            rooted=rooted,
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        return running(self.loop.run())

    def holds(self, svid: Svid | None, *bundle: bytes) -> None:
        self.board.setter("identity")(IdentityFact(svid, bundle=bundle))

    @property
    def last(self) -> AnchorsFact:
        return self.facts[-1]

    @property
    def reason(self) -> Reason | None:
        return self.last.fault.reason if self.last.fault else None


async def test_anchors_are_known_at_once_whatever_their_source_does() -> None:
    source = MemoryTrustAnchors(OLD)
    source.offer = Reason.API_TIMEOUT
    desk = Desk(source)
    async with desk.running():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert desk.facts[0].in_force == anchors.digest((OLD,))
        assert desk.facts[0].expires_at == 1e9
        await asyncio.sleep(1)
    assert (desk.reason, desk.last.in_force) == (Reason.API_TIMEOUT, desk.facts[0].in_force)


async def test_an_svid_that_they_do_not_cover_is_named_as_soon_as_it_comes() -> None:
    desk = Desk(MemoryTrustAnchors(OLD))
    desk.holds(SVID)
    async with desk.running():
        await asyncio.sleep(1)
        assert desk.last.untrusted == ""
        desk.holds(NEXT)
        await asyncio.sleep(0.01)
        assert desk.last.untrusted == NEXT.fingerprint


async def test_a_file_that_changed_is_in_force_and_every_host_has_its_own_moment() -> None:
    source = MemoryTrustAnchors(OLD)
    desk = Desk(source)
    async with desk.running():
        await asyncio.sleep(15)
        before = desk.last
        source.mine = (NEW, OLD)
        await asyncio.sleep(15)
    digest = anchors.digest((NEW, OLD))
    assert (before.in_force, desk.last.in_force) == (anchors.digest((OLD,)), digest)
    assert desk.last.restart_at == 20 + anchors.restart_delay("shop/db-1", digest, 3600)
    assert len(desk.facts) == 2


async def test_a_file_that_cannot_be_read_is_trouble_until_it_can() -> None:
    source = MemoryTrustAnchors()
    source.mine = Reason.TRUST_ANCHORS_UNUSABLE
    desk = Desk(source)
    async with desk.running():
        await asyncio.sleep(1)
        assert (desk.reason, desk.last.in_force) == (Reason.TRUST_ANCHORS_UNUSABLE, "")
        source.mine = (OLD,)
        await asyncio.sleep(10)
        assert (desk.reason, desk.last.in_force) == (None, anchors.digest((OLD,)))


async def test_what_the_mesh_has_besides_is_kept_and_proposed_and_not_used() -> None:
    source = MemoryTrustAnchors(OLD)
    desk = Desk(source)
    desk.holds(SVID)
    async with desk.running():
        await asyncio.sleep(1)
        source.offer = (NEW, OLD)
        await asyncio.sleep(300)
        assert source.kept == [(NEW, OLD)]
        assert (desk.reason, desk.last.proposed) == (Reason.TRUST_ANCHORS_PROPOSED, anchors.digest((NEW, OLD)))
        assert desk.last.in_force == anchors.digest((OLD,))
        source.mine = (NEW, OLD)  # root has accepted
        await asyncio.sleep(10)
        assert (desk.reason, desk.last.proposed) == (None, "")


async def test_with_follow_it_is_in_force_at_once() -> None:
    source = MemoryTrustAnchors(OLD, follow=True)
    source.offer = (NEW, OLD)
    desk = Desk(source, follow=True)
    desk.holds(SVID)
    async with desk.running():
        await asyncio.sleep(1)
    assert (desk.last.in_force, desk.last.proposed, desk.reason) == (anchors.digest((NEW, OLD)), "", None)


@pytest.mark.parametrize("follow", [True, False])
async def test_what_does_not_cover_the_present_svid_is_refused(follow: bool) -> None:
    source = MemoryTrustAnchors(OLD, follow=follow)
    source.offer = (NEW,)
    desk = Desk(source, follow=follow)
    desk.holds(SVID)
    async with desk.running():
        await asyncio.sleep(1)
        assert (desk.reason, source.kept) == (Reason.TRUST_ANCHORS_REFUSED, [])
        desk.holds(NEXT, NEW)  # an SVID under the new root has come: now it would mend what is broken
        await asyncio.sleep(1)
        assert source.kept == [(NEW,)]


async def test_a_bundle_that_is_not_rooted_in_those_in_force_is_refused() -> None:
    source = MemoryTrustAnchors(OLD)
    desk = Desk(source, rooted=True)
    desk.holds(NEXT, NEW)
    source.offer = (NEW,)
    async with desk.running():
        await asyncio.sleep(1)
        assert (desk.reason, source.kept) == (Reason.TRUST_ANCHORS_REFUSED, [])
        assert desk.last.fault is not None and "shares no anchor" in desk.last.fault.detail


async def test_a_bundle_that_changes_is_looked_at_at_once() -> None:
    source = MemoryTrustAnchors(OLD)
    desk = Desk(source)
    desk.holds(SVID, OLD)
    async with desk.running():
        await asyncio.sleep(1)
        desk.holds(SVID, NEW, OLD)
        await asyncio.sleep(1)
    assert source.asked == [(OLD,), (NEW, OLD)]


async def test_a_source_that_fails_takes_no_proposal_away_and_is_asked_again_soon() -> None:
    source = MemoryTrustAnchors(OLD)
    source.offer = (NEW, OLD)
    desk = Desk(source)
    async with desk.running():
        await asyncio.sleep(1)
        source.offer = Reason.API_UNREACHABLE
        await asyncio.sleep(300)
        assert (desk.reason, bool(desk.last.proposed)) == (Reason.API_UNREACHABLE, True)
        source.offer = (NEW, OLD)
        await asyncio.sleep(40)
        assert desk.reason is Reason.TRUST_ANCHORS_PROPOSED


async def test_what_cannot_be_kept_is_trouble() -> None:
    source = MemoryTrustAnchors(OLD)
    source.offer, source.keeps = (NEW, OLD), Reason.TRUST_ANCHORS_UNWRITABLE
    desk = Desk(source)
    async with desk.running():
        await asyncio.sleep(1)
    assert desk.reason is Reason.TRUST_ANCHORS_UNWRITABLE


async def test_a_jump_of_the_wall_clock_moves_no_end_by_a_little_and_publishes_nothing() -> None:
    desk = Desk(MemoryTrustAnchors(OLD))
    async with desk.running():
        await asyncio.sleep(1)
        desk.wall = 30.0
        await asyncio.sleep(100)
    assert len(desk.facts) == 1
