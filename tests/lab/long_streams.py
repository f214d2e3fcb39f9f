"""What goes on through a proxy while that is replaced, in one direction: a client of HTTP/2 that asks on, a stream
that ends when it is told to, one that does not, and a raw one. The same on a machine's way in and on its way out.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

from agent.sandbox.stage.background import background
from agent.sandbox.stage.http2_client import Connection, MeshedLoad
from tests.lab import netns
from tests.lab.http2_peers import Application
from tests.lab.proxy_clients import App, closed, listen

HTTP2, RAW, KEPT = 8081, 8082, 8083  # ports; the stream at the last one does not end
PER_SECOND = 20.0


@dataclass(frozen=True)
class Way:
    """Who dials, and the application. `tls`: of a client of HTTP/2; None: it is no member of the mesh."""

    client: netns.Namespace
    server: netns.Namespace
    address: str
    tls: ssl.SSLContext | None = None
    server_name: str = ""


@dataclass
class Asking(MeshedLoad):
    """A client of HTTP/2 in a network of its own."""

    space: netns.Namespace = field(kw_only=True)
    meshed: bool = field(kw_only=True)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def _connected(self) -> Connection:
        made = await asyncio.to_thread(_dial, self.space, self.address, self.port)
        tls, name = (self.context, self.server_name) if self.meshed else (None, None)
        reader, writer = await asyncio.open_connection(sock=made, ssl=tls, server_hostname=name)
        self.writers.append(writer)
        return Connection(reader, writer, f"{self.address}:{self.port}")

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


@dataclass
class Raw:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def flows(self) -> None:
        """There and back. Raises ConnectionError, IncompleteReadError."""
        self.writer.write(b"more\n")
        assert await self.reader.readuntil(b"more\n")

    async def over(self) -> None:
        """Return once the other side has ended or reset it."""
        with contextlib.suppress(ConnectionError):
            assert await self.reader.read() == b""


@dataclass
class Streams:
    """`load` asks on. `ending`, `kept`: the answers to requests that the application holds; it answers the first
    once it is released."""

    way: Way
    load: Asking
    application: Application
    ending: asyncio.Task[str]
    kept: asyncio.Task[str]
    raw: Raw

    async def asked(self, count: int) -> None:
        """So many requests more have been sent and have ended."""
        await self.load.reached(self.load.sent + count)


@contextlib.asynccontextmanager
async def streams(way: Way) -> AsyncIterator[Streams]:
    """All of them have begun."""
    answering, holding, echoing = Application(), Application(), App()
    async with contextlib.AsyncExitStack() as stack:
        for port, app in ((HTTP2, answering), (KEPT, holding), (RAW, echoing)):
            stack.push_async_callback(app.ended)
            listener = way.server.inside(partial(listen, way.address, port))
            await stack.enter_async_context(await asyncio.start_server(app.accept, sock=listener))
        for application in (answering, holding):
            stack.callback(application.release.set)
        load, *holders = (_asking(way, port) for port in (HTTP2, HTTP2, KEPT))
        for client in (load, *holders):
            stack.callback(client.close)
        ending, kept = (asyncio.create_task(client.ask("/held")) for client in holders)
        raw = await stack.enter_async_context(opened(way))
        await stack.enter_async_context(background(load.run()))
        for event in (answering.holds, holding.holds):
            await event.wait()
        try:
            yield Streams(way, load, answering, ending, kept, raw)
        finally:
            for task in (ending, kept):
                task.cancel()
            await asyncio.gather(ending, kept, return_exceptions=True)


@contextlib.asynccontextmanager
async def opened(way: Way) -> AsyncIterator[Raw]:
    """A raw stream that has carried something."""
    made = await asyncio.to_thread(_dial, way.client, way.address, RAW)
    raw = Raw(*await asyncio.open_connection(sock=made))
    try:
        await raw.flows()
        yield raw
    finally:
        await closed(raw.writer)


def _asking(way: Way, port: int) -> Asking:
    context = way.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return Asking(
        way.address,
        port,
        way.server_name,
        context,
        space=way.client,
        meshed=way.tls is not None,
        per_second=PER_SECOND,
    )


def _dial(space: netns.Namespace, address: str, port: int) -> socket.socket:
    made = space.inside(lambda: socket.create_connection((address, port), timeout=5))
    made.setblocking(False)
    return made
