"""A server of aiohttp that forgets no client at its end, as `web.TCPSite` does (`host.serving`)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from agent.host import serving

_BACKLOG = 128


@asynccontextmanager
async def served(app: web.Application, *listen: tuple[str, int], ends_within: float) -> AsyncIterator[None]:
    """At the end requests in flight have `ends_within` seconds."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=ends_within)
    await runner.setup()
    assert runner.server is not None
    make = asyncio.get_running_loop().create_server
    try:
        async with AsyncExitStack() as listening:
            for address, port in listen:
                made = await make(runner.server, address, port, reuse_address=True, backlog=_BACKLOG)
                await listening.enter_async_context(serving.closing(made))
            yield
    finally:
        await runner.cleanup()
