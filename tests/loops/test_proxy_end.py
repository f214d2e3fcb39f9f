"""How long the agent waits for a proxy after SIGTERM."""

import asyncio

import pytest

from agent.core.facts import UNKNOWN, Maybe, ProxyState
from agent.core.reasons import Reason
from agent.loops.proxy import PATIENCE_IDLE, POLL, POLL_DRAINING
from tests.loops.test_proxy import GRACE, RUNNING, STOPPED, Scene


def told_to_end(carries: Maybe[int]) -> Scene:
    scene = Scene(survivor=True, goal=STOPPED)
    scene.runtime.deaf, scene.runtime.carries = True, carries
    return scene


async def test_what_leads_nowhere_is_not_waited_for() -> None:
    """Requests that wait for a control plane that is away would hold it for the whole grace."""
    scene = told_to_end(0)
    async with scene.playing(lasting=PATIENCE_IDLE - 0.1):
        assert not scene.runtime.called("kill")
        await asyncio.sleep(POLL_DRAINING + 0.2)
        assert scene.fact.state is ProxyState.STOPPED


@pytest.mark.parametrize("carries", [1, UNKNOWN])
async def test_what_it_carries_or_may_carry_has_the_whole_grace(carries: Maybe[int]) -> None:
    scene = told_to_end(carries)
    async with scene.playing(lasting=GRACE + 9):
        assert not scene.runtime.called("kill")


async def test_what_it_still_carries_is_published_as_it_changes() -> None:
    scene = told_to_end(3)
    async with scene.playing(lasting=POLL_DRAINING + 0.1):
        assert (scene.fact.state, scene.fact.in_flight) == (ProxyState.STOPPING, 3)
        scene.runtime.carries = 1
        await asyncio.sleep(POLL_DRAINING + 0.1)
        assert (scene.fact.state, scene.fact.in_flight) == (ProxyState.STOPPING, 1)


async def test_what_it_carries_again_has_its_time_again() -> None:
    scene = told_to_end(0)
    async with scene.playing(lasting=PATIENCE_IDLE - 1):
        scene.runtime.carries = 1
        await asyncio.sleep(GRACE / 2)
        scene.runtime.carries = 0
        await asyncio.sleep(PATIENCE_IDLE - 1)
        assert not scene.runtime.called("kill")
        await asyncio.sleep(2)
        assert scene.fact.state is ProxyState.STOPPED


@pytest.mark.parametrize("carries", [0, 1])
async def test_a_sigterm_that_nobody_could_be_asked_for_is_asked_for_again(carries: int) -> None:
    """Without it SIGKILL would cut the connections, and systemd would start the next one."""
    scene = told_to_end(carries)
    scene.runtime.deaf, scene.runtime.unheard = False, True
    async with scene.playing(lasting=GRACE + 20):
        assert not scene.runtime.called("kill")
        assert (scene.fact.state, scene.reason) == (ProxyState.READY, Reason.PROXY_UNIT_FAILED)
        scene.runtime.unheard = False
        await asyncio.sleep(POLL)
        assert (scene.fact.state, scene.reason) == (ProxyState.STOPPED, Reason.PROXY_STOPPED)
        assert not scene.runtime.called("kill")


async def test_until_then_a_later_goal_keeps_it() -> None:
    scene = told_to_end(1)
    scene.runtime.deaf, scene.runtime.unheard = False, True
    async with scene.playing(lasting=GRACE):
        scene.want(RUNNING)
        scene.runtime.unheard = False
        await asyncio.sleep(GRACE)
        assert (scene.fact.state, scene.fact.fault) == (ProxyState.READY, None)
        scene.crash()
        await asyncio.sleep(0.1)
        assert scene.fact.restarts == 1, "nobody asked for this end"
