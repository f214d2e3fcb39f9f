"""A credential that expires is renewed at half of its life, in the background; in virtual time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent.adapters.kube.access import Fresh, Renewed
from agent.core.reasons import Fault, Reason
from agent.ports import Trouble

PENDING = Fault(Reason.API_JWT_MISSING, "not yet")


class Source:
    """Gives a new token each time, after `takes` seconds; or `trouble`."""

    def __init__(self, lifetime: float | None = 100.0) -> None:
        self.lifetime, self.takes, self.asked = lifetime, 0.0, 0
        self.trouble: Exception | None = None

    async def fetch(self) -> Fresh:
        self.asked += 1
        await asyncio.sleep(self.takes)
        if self.trouble is not None:
            raise self.trouble
        return Fresh(f"token-{self.asked}", lifetime=self.lifetime)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def renewed(source: Source) -> AsyncIterator[Renewed]:
    renewed = Renewed(source.fetch, PENDING, lambda: 0.5)
    yield renewed
    await renewed.close()


async def token(renewed: Renewed) -> str:
    return (await renewed.get()).token


async def test_it_is_renewed_at_half_life_and_nobody_waits_for_that(source: Source, renewed: Renewed) -> None:
    assert await token(renewed) == "token-1"
    source.takes = 3.0
    await asyncio.sleep(49)
    assert (await token(renewed), source.asked) == ("token-1", 1)
    await asyncio.sleep(2)
    began = asyncio.get_running_loop().time()
    assert (await token(renewed), await token(renewed)) == ("token-1", "token-1")
    assert asyncio.get_running_loop().time() == began
    await asyncio.sleep(4)
    assert (await token(renewed), source.asked) == ("token-2", 2)


async def test_two_hundred_renewals_without_a_gap(source: Source, renewed: Renewed) -> None:
    source.lifetime, source.takes = 10.0, 1.0
    seen = set()
    for _ in range(1000):
        fresh = await renewed.get()
        expires_at = renewed.expires_at
        assert expires_at is not None and expires_at > asyncio.get_running_loop().time()
        seen.add(fresh.token)
        await asyncio.sleep(2)
    assert len(seen) >= 200


async def test_what_is_held_serves_while_its_source_is_away(source: Source, renewed: Renewed) -> None:
    await renewed.get()
    source.trouble = Trouble(Reason.API_JWT_MISSING, "away")
    await asyncio.sleep(51)
    for _ in range(40):
        assert await token(renewed) == "token-1"
        await asyncio.sleep(1)
    assert source.asked < 10, "it backs off"
    await asyncio.sleep(10)
    with pytest.raises(Trouble, match="away"):
        await renewed.get()
    source.trouble = None
    assert (await token(renewed)).startswith("token-")


async def test_it_says_until_when_what_it_holds_is_valid_and_when_the_source_is_asked_again(
    source: Source, renewed: Renewed
) -> None:
    assert renewed.about() == {}
    await renewed.get()
    assert renewed.about() == {"expires_at": source.lifetime}
    source.trouble = Trouble(Reason.API_JWT_MISSING, "away")
    await asyncio.sleep(51)
    await renewed.get()
    await asyncio.sleep(0.1)
    assert renewed.about() == {"expires_at": source.lifetime, "retry_at": 51.75}
    source.trouble = None
    await asyncio.sleep(1)
    await renewed.get()
    await asyncio.sleep(0.1)
    assert renewed.about().keys() == {"expires_at"}


async def test_a_source_that_is_slow_goes_on_while_callers_come_and_go(source: Source, renewed: Renewed) -> None:
    source.takes = 8.0
    for _ in range(2):
        with pytest.raises(Trouble, match="not yet"):
            await renewed.get()
    assert (await token(renewed), source.asked) == ("token-1", 1)


async def test_a_caller_that_gives_up_does_not_end_the_renewal(source: Source, renewed: Renewed) -> None:
    source.takes = 2.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await renewed.get()
    assert (await token(renewed), source.asked) == ("token-1", 1)


async def test_what_was_refused_is_replaced_by_the_call_after_the_next(source: Source, renewed: Renewed) -> None:
    """And keeps serving: the refusal may have been trouble of the server."""
    source.lifetime = None
    assert await token(renewed) == "token-1"
    await asyncio.sleep(100_000)
    assert (await token(renewed), source.asked) == ("token-1", 1)
    renewed.stale()
    assert await token(renewed) == "token-1"
    await asyncio.sleep(0.1)
    assert await token(renewed) == "token-2"


async def test_a_bug_in_the_source_is_no_trouble(source: Source, renewed: Renewed) -> None:
    source.trouble = ZeroDivisionError()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    with pytest.raises(ZeroDivisionError):
        await renewed.get()


async def test_no_secret_stands_in_a_repr() -> None:
    assert "hush" not in repr(Fresh("hush", b"hush", 1.0))
