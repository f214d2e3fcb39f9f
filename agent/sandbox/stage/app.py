"""The local application of the sandbox: it returns the client's address. python -m agent.sandbox.stage.app
ADDRESS:PORT …"""

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence

from aiohttp import web

from agent.sandbox.http_server import served

SLOWEST = 60.0


async def _hello(request: web.Request) -> web.Response:
    return web.json_response(_seen(request))


async def _slow(request: web.Request) -> web.StreamResponse:
    """The headers at once, so that the client knows that its request is in flight."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await asyncio.sleep(min(float(request.query.get("seconds", "1")), SLOWEST))
    await response.write_eof(json.dumps(_seen(request)).encode())
    return response


def _seen(request: web.Request) -> dict[str, object]:
    """`from`: the address that the application sees. Behind the proxy it is the host's own."""
    assert request.transport is not None
    peer = request.transport.get_extra_info("peername")
    return {"hello": "from the application", "from": peer[0], "port": request.url.port}


async def _serve(listen: Sequence[tuple[str, int]]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = web.Application()
    app.add_routes([web.get("/slow", _slow), web.get("/{path:.*}", _hello)])
    async with served(app, *listen, ends_within=1.0):
        await stop.wait()


def listener(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    return address.strip("[]"), int(port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("listen", nargs="+", type=listener, metavar="ADDRESS:PORT")
    asyncio.run(_serve(parser.parse_args().listen))
