"""How often the live rules are read."""

import asyncio

import pytest

from agent.loops.redirect import RECHECK, REPAIRS, SELDOM, WINDOW
from tests.loops.test_redirect import drift, intended


async def test_while_the_kernel_tells_of_each_change_the_rules_are_seldom_read() -> None:
    scene = intended()
    async with scene.playing():
        await asyncio.sleep(3600)
        assert len(scene.kernel.calls) == 2 + 3600 / SELDOM
        assert scene.kernel.firewalls <= 3 + 3600 / SELDOM
        await drift(scene)
        assert scene.applied == ["on/on"]


@pytest.mark.parametrize("what", ["edited", "suspended", "unreported", "contested", "no watch"])
async def test_what_the_kernel_does_not_tell_of_is_read_often(what: str) -> None:
    scene = intended()
    scene.kernel.watched = what != "no watch"
    if what in ("edited", "suspended", "unreported"):
        setattr(scene.kernel, what, "something")
    scene.kernel.deaf = what == "contested"
    async with scene.playing():
        if what == "contested":
            for _ in range(REPAIRS + 1):
                await drift(scene)
        calls = len(scene.kernel.calls)
        await asyncio.sleep(WINDOW / 2)
        assert len(scene.kernel.calls) - calls >= WINDOW / 2 / RECHECK - 1


async def test_a_watch_that_ends_makes_the_readings_frequent_again() -> None:
    scene = intended()
    async with scene.playing():
        await asyncio.sleep(RECHECK)
        scene.kernel.watched = False
        scene.kernel.changed.set()
        await asyncio.sleep(1)
        calls = len(scene.kernel.calls)
        await asyncio.sleep(SELDOM)
        assert len(scene.kernel.calls) - calls >= SELDOM / RECHECK - 1
