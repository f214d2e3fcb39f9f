"""A proxy between a host and its API server: it terminates TLS by its own authority, and injects faults.

The server behind it may be any. What no fault strikes goes on as it came, and comes back piece by piece, so that
a watch is a watch.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from agent.host import serving
from agent.sandbox.api import faults
from agent.sandbox.api.faults import Break, Seen
from agent.sandbox.identity.ca import Authority
from tests.contract.status_worlds import HttpWorld, server_tls

HOP = {"Host", "Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length"}


class FaultProxy:
    """`faults`: what happens to requests. `requests`: all that came, struck or not. `ca_file`: whom to trust."""

    def __init__(self, session: aiohttp.ClientSession, ca_file: Path) -> None:
        self.faults, self.requests, self.ca_file = faults.Faults(), faults.log(), ca_file
        self.port, self._lost = 0, 0
        self._session = session
        self._watches: dict[web.StreamResponse, web.Request] = {}
        self._silent = asyncio.Event()
        self._opened = asyncio.Condition()

    # a watch that is open -----------------------------------------------------------------------

    async def watched(self) -> None:
        """Return when a watch is open."""
        async with self._opened:
            await self._opened.wait_for(lambda: self._watches)

    async def say(self, piece: bytes) -> None:
        """Put this into each open watch, as if the server had."""
        for response in self._watches:
            await response.write(piece)

    def hang_up(self) -> None:
        """Close each open watch in the middle of a line."""
        for request in self._watches.values():
            if request.transport is not None:
                request.transport.close()

    def fall_silent(self) -> None:
        """From now on nothing passes in the open watches, without any error."""
        self._silent.set()

    def lose(self, times: int) -> None:
        """The server takes that many patches, and their answers never arrive."""
        self._lost = times

    # what it has seen ---------------------------------------------------------------------------

    def asked(self, method: str, *, watch: bool = False) -> list[Seen]:
        return [seen for seen in self.requests if seen.method == method and ("watch" in seen.query) is watch]

    # between the two ----------------------------------------------------------------------------

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(_seen(request, body))
        if (broken := await self.faults.strike(request)) is not None:
            return broken
        headers = {key: value for key, value in request.headers.items() if key not in HOP}
        async with self._session.request(request.method, request.path_qs, data=body, headers=headers) as answer:
            if request.method == "PATCH" and self._lost:
                self._lost -= 1
                return await faults.Faults([faults.Fault(Break.RESET)]).strike(request) or web.Response()
            response = web.StreamResponse(status=answer.status, headers=_kept(answer))
            try:
                await response.prepare(request)
                await self._pass_on(request, answer, response)
            finally:
                if answer.connection is not None and answer.connection.transport is not None:
                    answer.connection.transport.abort()  # a TLS shutdown would outlast the test
        return response

    async def _pass_on(
        self, request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse
    ) -> None:
        watch = "watch" in request.query and answer.status == 200
        if watch:
            await self._open(request, response)
        try:
            async for piece in answer.content.iter_any():
                if watch and self._silent.is_set():
                    await asyncio.Event().wait()  # until the client closes
                await response.write(piece)
        finally:
            self._watches.pop(response, None)

    async def _open(self, request: web.Request, response: web.StreamResponse) -> None:
        self._silent.clear()
        async with self._opened:
            self._watches[response] = request
            self._opened.notify_all()


def _kept(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {key: value for key, value in answer.headers.items() if key not in HOP}


def _seen(request: web.Request, body: bytes) -> Seen:
    parsed = json.loads(body) if body else ""
    return Seen(request.method, request.path, dict(request.query), request.content_type, parsed, "")


@asynccontextmanager
async def fault_proxy(world: HttpWorld, folder: Path) -> AsyncIterator[FaultProxy]:
    """In front of a world's server."""
    context = _tls(folder)
    connector = aiohttp.TCPConnector(ssl=world.tls())
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        world.url, connector=connector, timeout=timeout, auto_decompress=False
    ) as session:
        proxy = FaultProxy(session, folder / "ca.crt")
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", proxy.serve)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0, access_log=None)
        await runner.setup()
        try:
            assert runner.server is not None
            make = asyncio.get_running_loop().create_server
            async with serving.closing(await make(runner.server, "127.0.0.1", 0, ssl=context)) as server:
                proxy.port = server.sockets[0].getsockname()[1]
                yield proxy
        finally:
            proxy.faults.release()
            proxy.hang_up()
            await runner.cleanup()


def _tls(folder: Path) -> ssl.SSLContext:
    folder.mkdir()
    authority = Authority("proxy.example")
    (folder / "ca.crt").write_text(authority.pem)
    return server_tls(authority, ["127.0.0.1"], folder)
