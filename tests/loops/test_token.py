import asyncio
import dataclasses

import pytest

from agent.core import token
from agent.core.facts import IdentityFact
from agent.core.reasons import Fault, Reason
from agent.loops.token import TokenLoop
from tests.fakes.identity_tokens import MemoryTokens
from tests.lab import identity_tokens
from tests.lab.identity_tokens import NAME
from tests.loops.recording import ShiftedClock, recorded
from tests.loops.running import running

AWAY = Fault(Reason.API_UNREACHABLE, "away")


def claims(begins: float, ends: float) -> token.Claims:
    return token.claims(identity_tokens.token(begins, ends))


class Desk(ShiftedClock):
    def __init__(self) -> None:
        self.tokens, self.facts, self.wall = MemoryTokens(), list[IdentityFact](), 1_000_000.0
        self.loop = TokenLoop(self.tokens, NAME, recorded("identity", self.facts), self.wall_now, lambda: 0.5)

    @property
    def reasons(self) -> list[Reason | None]:
        return [fact.fault.reason if fact.fault else None for fact in self.facts]


async def test_a_token_is_an_identity_until_it_runs_out() -> None:
    desk = Desk()
    desk.tokens.offered = claims(desk.wall - 100, desk.wall + 500)
    async with running(desk.loop.run()):
        await asyncio.sleep(60)
    (fact,) = desk.facts
    assert fact.svid is not None and fact.svid.spiffe_id == NAME
    assert (fact.expires_at, fact.rotates_at, fact.updates, fact.fault) == (500.0, 200.0, 1, None)


async def test_a_token_never_lasts_longer_than_its_whole_life() -> None:
    """One that is not valid yet tells that this host's clock is behind."""
    desk = Desk()
    desk.tokens.offered = claims(desk.wall + 30, desk.wall + 530)
    async with running(desk.loop.run()):
        await asyncio.sleep(60)
    assert [fact.expires_at for fact in desk.facts] == [500.0]


async def test_a_renewed_token_is_an_update() -> None:
    desk = Desk()
    desk.tokens.offered = claims(desk.wall, desk.wall + 500)
    async with running(desk.loop.run()):
        await asyncio.sleep(60)
        desk.tokens.offered = claims(desk.wall + 60, desk.wall + 1000)
        await asyncio.sleep(60)
    assert [(fact.updates, fact.expires_at) for fact in desk.facts] == [(1, 500.0), (2, 1000.0)]


async def test_trouble_with_the_source_takes_no_token_away() -> None:
    desk = Desk()
    desk.tokens.offered = claims(desk.wall, desk.wall + 5000)
    async with running(desk.loop.run()):
        await asyncio.sleep(60)
        desk.tokens.fault = AWAY
        await asyncio.sleep(600)
        desk.tokens.fault = None
        await asyncio.sleep(60)
    first = desk.facts[0]
    assert desk.facts == [first, dataclasses.replace(first, fault=AWAY), first]
    assert desk.tokens.asked < 40, "a source in trouble is asked ever more seldom"


async def test_why_there_is_none_is_told_first() -> None:
    desk = Desk()
    desk.tokens.fault = AWAY
    async with running(desk.loop.run()):
        await asyncio.sleep(5)
        desk.tokens.fault = None
        await asyncio.sleep(60)
        desk.tokens.offered = claims(desk.wall, desk.wall + 5000)
        await asyncio.sleep(120)
    assert desk.reasons == [Reason.API_UNREACHABLE, Reason.IDENTITY_TOKEN_UNREADABLE, None]


@pytest.mark.parametrize("within", [3.0, 60.0])
async def test_a_source_that_hangs_is_a_fact_within_5_s(within: float, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.tokens.offered = claims(desk.wall, desk.wall + 5000)
    renew = desk.tokens.renew

    async def late() -> None:
        await asyncio.sleep(within)
        await renew()

    monkeypatch.setattr(desk.tokens, "renew", late)
    async with running(desk.loop.run()):
        await asyncio.sleep(5)
        assert len(desk.facts) == 1
        await asyncio.sleep(60)
    assert desk.reasons == ([None] if within < 5 else [Reason.IDENTITY_TOKEN_UNREADABLE, None])
