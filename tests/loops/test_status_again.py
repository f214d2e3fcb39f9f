"""How the status loops of a fleet come back after the API server was away."""

import asyncio
import contextlib

import pytest

from agent.core.facts import LeaseFact
from agent.core.reasons import Reason
from agent.ports import Lease, Trouble
from tests.loops.running import running
from tests.loops.test_status import NO, Scene

pytestmark = [pytest.mark.status, pytest.mark.watcher]


@pytest.mark.parametrize("cut", [Reason.API_UNREACHABLE, Reason.API_FAILING, None])
async def test_a_fleet_whose_watches_end_together_comes_back_within_half_a_minute_by_chance(
    cut: Reason | None,
) -> None:
    scenes = [Scene(jitter=number / 20) for number in range(20)]
    async with contextlib.AsyncExitStack() as stack:
        for scene in scenes:
            await stack.enter_async_context(running(scene.loop.run()))
        await asyncio.sleep(60)
        for scene in scenes:
            if cut:
                scene.api.trouble_watches(Trouble(cut))
            else:
                scene.api.end_watches()
        await asyncio.sleep(0)
        for scene in scenes:
            scene.api.troubles = {}
        back = []
        for _ in range(31):
            await asyncio.sleep(1)
            back.append(sum(scene.api.calls["read"] == 2 for scene in scenes))
        assert back[0] <= 2 and 8 <= back[14] <= 12 and back[30] == 20


async def test_an_api_server_that_has_no_earlier_version_is_watched_from_what_is_there() -> None:
    """It was restarted, and this host's ExternalWorkload has not been written since: its version stays too old."""
    scene = Scene()
    async with running(scene.loop.run()):
        await asyncio.sleep(60)
        scene.api.lease = Lease()
        await scene.api.renew_lease(Lease())  # the cluster's version goes on
        scene.api.forget()
        scene.api.end_watches()
        await asyncio.sleep(60)
        before = scene.api.calls.copy()
        await asyncio.sleep(3600)
        assert scene.api.calls == before, "one watch is open"
        scene.api.edit(ports=(9999,))
        await asyncio.sleep(1)
        assert scene.fact.seen is not None and scene.fact.seen.ports == (9999,)


async def test_a_renewal_of_the_lease_opens_the_watch_again_at_once() -> None:
    """The network was away for long, and the next try would be half a minute off."""
    scene = Scene()
    scene.show(NO)
    async with running(scene.loop.run()):
        await asyncio.sleep(5)
        scene.api.trouble_watches(Trouble(Reason.API_UNREACHABLE))
        scene.api.troubles["read"] = Trouble(Reason.API_UNREACHABLE)
        await asyncio.sleep(601)
        scene.api.troubles = {}
        tries = scene.api.calls["read"]
        lease = LeaseFact("b", asyncio.get_running_loop().time())
        scene.board.setter("lease")(lease)
        await asyncio.sleep(0.1)
        assert scene.api.calls["read"] == tries + 1
