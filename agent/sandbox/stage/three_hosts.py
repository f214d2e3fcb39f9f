"""Three hosts beside one cluster, for the scenarios of a fleet."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from agent.sandbox.stage import network
from agent.sandbox.stage.scene import Options, Scene


@contextlib.asynccontextmanager
async def three(base: Path, options: Options) -> AsyncIterator[list[Scene]]:
    """The first has the cluster."""
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(Scene(base, options).standing())
        hosts = [one]
        for place in (network.SECOND, network.THIRD):
            scene = Scene(base, options, beside=one, place=place)
            hosts.append(await stack.enter_async_context(scene.standing()))
        yield hosts
