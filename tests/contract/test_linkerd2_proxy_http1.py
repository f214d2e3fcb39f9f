"""How linkerd2-proxy ends connections of HTTP/1 at SIGTERM; with LINKERD2_PROXY on that program too.

The stand-in forwards their bytes, so it ends them with the client or with grace.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

from agent.core.facts import Process
from agent.core.reasons import Reason
from tests.contract.test_linkerd2_proxy import REDIRECTED, host, load, started
from tests.contract.test_proxy_runtime import ready
from tests.lab.child_proxies import ADDRESS, SETTINGS, Options, ProxyHost, RemoteRuntime
from tests.lab.proxy_clients import PORT, closed, dial, listen, streams

__all__ = ["host"]

PATIENT = replace(SETTINGS, grace=600)
REQUEST = b"GET / HTTP/1.1\r\nhost: app.example\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nanswered"


class Application:
    """Answers each request once `release` is set."""

    def __init__(self) -> None:
        self.release, self.asked = asyncio.Event(), asyncio.Event()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked.set()
                await self.release.wait()
                writer.write(ANSWER)
        await closed(writer)


@contextlib.asynccontextmanager
async def talking(
    host: ProxyHost,
) -> AsyncIterator[tuple[RemoteRuntime, Process, Application, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client that has asked once, on a connection that is kept."""
    await load(host, REDIRECTED)
    app = Application()
    listener = host.network.inside(partial(listen, ADDRESS, PORT))
    async with (
        await asyncio.start_server(app.accept, sock=listener),
        started(host, Options(PATIENT, host.binary)) as (runtime, process),
    ):
        await ready(runtime, process)
        async with streams(dial(host.client, ADDRESS)) as (reader, writer):
            writer.write(REQUEST)
            await app.asked.wait()
            yield runtime, process, app, reader, writer


async def answered(reader: asyncio.StreamReader) -> bytes:
    """The head of the answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and await reader.readexactly(8) == b"answered"
    return head.lower()


async def test_an_idle_connection_is_closed_and_the_process_ends(host: ProxyHost) -> None:
    async with talking(host) as (runtime, process, app, reader, writer):
        app.release.set()
        await answered(reader)
        await runtime.terminate(process)
        if host.binary == Options.binary:
            writer.write_eof()
        assert await reader.read() == b""
        assert (await runtime.wait(process)).reason is Reason.PROXY_STOPPED


async def test_what_is_in_flight_is_answered_and_is_the_last(host: ProxyHost) -> None:
    async with talking(host) as (runtime, process, app, reader, writer):
        await runtime.terminate(process)
        while (await runtime.inspect(process)).live is True:
            await asyncio.sleep(0.05)
        app.release.set()
        head = await answered(reader)
        if host.binary == Options.binary:
            writer.write_eof()
        else:
            assert b"connection: close\r\n" in head
        assert await reader.read() == b""
        assert (await runtime.wait(process)).reason is Reason.PROXY_STOPPED
