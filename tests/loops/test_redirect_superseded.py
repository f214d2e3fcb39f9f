"""A decision that is older than the proof of the next proxy is not carried out."""

import asyncio

from agent.core.facts import Level
from agent.core.goals import RedirectGoal
from agent.loops.redirect import RECHECK, SUPERSEDED
from tests.loops.test_redirect import Scene, fact

BLOCK, ON = Level.BLOCK, Level.ON


async def test_a_decision_by_an_older_reading_than_the_proof_changes_nothing_and_is_no_fault() -> None:
    """systemd has started the next proxy, and the hook has set ON for it, while the agent had the port closed for
    the end of the first."""
    scene = Scene(ON, ON)
    async with scene.playing():
        scene.board.judged_at, scene.kernel.armed_at = 1.0, 1.3
        scene.goals(RedirectGoal.BLOCK, RedirectGoal.ON)
        await asyncio.sleep(0.1)
        assert scene.told[-1] == fact(ON, ON)
        assert scene.applied == ["block/on"]
        scene.goals(RedirectGoal.ON, RedirectGoal.ON)
        await asyncio.sleep(RECHECK)
        assert scene.told[-1] == fact(ON, ON)
        assert scene.applied == ["block/on"]


async def test_a_decision_that_a_newer_reading_confirms_is_carried_out_soon() -> None:
    scene = Scene(ON, ON)
    async with scene.playing():
        scene.board.judged_at, scene.kernel.armed_at = 1.0, 1.3
        scene.goals(RedirectGoal.BLOCK, RedirectGoal.ON)
        await asyncio.sleep(0.1)
        scene.board.judged_at = 2.0
        await asyncio.sleep(SUPERSEDED)
        assert scene.told[-1] == fact(BLOCK, ON)
