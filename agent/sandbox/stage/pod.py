"""A plain service somewhere in the cluster."""

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from agent.sandbox.http_server import served


@contextlib.asynccontextmanager
async def pod(address: str, port: int) -> AsyncIterator[None]:
    async def hello(request: web.Request) -> web.Response:
        return web.json_response({"hello": "from a pod"})

    app = web.Application()
    app.add_routes([web.get("/", hello)])
    async with served(app, (address, port), ends_within=60.0):
        yield
