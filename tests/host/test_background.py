"""Tasks beside a scenario: what they fail with is not lost."""

import asyncio

import pytest

from agent.sandbox.stage.background import background


async def _fails() -> None:
    raise ValueError("cannot renew")


async def _waits(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("cancelled")


async def test_a_failure_in_the_background_reaches_the_scenario() -> None:
    with pytest.raises(ValueError, match="cannot renew"):
        async with background(_fails()):
            await asyncio.sleep(0)


async def test_the_failure_of_the_scenario_itself_comes_first() -> None:
    with pytest.raises(KeyError):
        async with background(_fails()):
            await asyncio.sleep(0)
            raise KeyError


async def test_what_still_runs_is_cancelled() -> None:
    ended: list[str] = []
    async with background(_waits(ended)):
        await asyncio.sleep(0)
    assert ended == ["cancelled"]
