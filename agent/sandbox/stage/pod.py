"""A plain service somewhere in the cluster."""

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web


@contextlib.asynccontextmanager
async def pod(address: str, port: int) -> AsyncIterator[None]:
    async def hello(request: web.Request) -> web.Response:
        return web.json_response({"hello": "from a pod"})

    app = web.Application()
    app.add_routes([web.get("/", hello)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    try:
        yield
    finally:
        await runner.cleanup()
