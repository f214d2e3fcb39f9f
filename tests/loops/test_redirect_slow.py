"""A privileged helper that is slow: a look is given up within 5 s, what sets rules later."""

import asyncio

from agent.core.goals import RedirectGoal
from tests.loops.test_redirect import OFF, ON, RELEASED, Scene, fact


async def test_a_helper_that_takes_its_time_to_set_rules_is_not_asked_from_the_beginning() -> None:
    """As on a busy host, where each attempt that is given up makes the next one as late."""
    async with Scene().playing() as scene:
        scene.kernel.slow = 8.0
        scene.goals(RedirectGoal.ON, RedirectGoal.RELEASED)
        await asyncio.sleep(20)
        assert scene.applied == ["on/released"]
        assert scene.told == [fact(OFF, OFF), fact(ON, RELEASED)]


async def test_one_that_never_sets_them_is_a_fault() -> None:
    async with Scene().playing() as scene:
        await asyncio.sleep(0.01)
        scene.kernel.hang = True
        scene.goals(RedirectGoal.ON, RedirectGoal.RELEASED)
        await asyncio.sleep(10)
        assert scene.told[-1].fault is not None and "within 9.5 s" in scene.told[-1].fault.detail
