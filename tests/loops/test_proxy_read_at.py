"""When the reading began by which a state of the proxy is known: a proof of the next process is newer than what is
only known of the last one."""

import asyncio

from agent.core.facts import ProxyState
from tests.loops.test_proxy import HOLD, Scene


async def test_an_end_and_an_assumed_start_are_no_newer_than_the_last_reading() -> None:
    """systemd reports both late: a hook may have proved the next process ready by then."""
    scene = Scene(survivor=True, goal=HOLD)
    async with scene.playing():
        read_at = scene.fact.read_at
        await asyncio.sleep(1)
        scene.crash()
        await asyncio.sleep(0.001)
        assert (scene.fact.state, scene.fact.read_at) == (ProxyState.STOPPED, read_at)
        before = len(scene.told)
        scene.host.restart_by_itself()
        await asyncio.sleep(1)
        assumed, read = scene.told[before:]
        assert (assumed.state, assumed.read_at) == (ProxyState.STARTING, read_at)
        assert read.state is ProxyState.READY
        assert read_at is not None and read.read_at is not None and read.read_at > read_at
