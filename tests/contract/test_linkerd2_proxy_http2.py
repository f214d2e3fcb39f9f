"""How linkerd2-proxy ends connections of HTTP/2 at SIGTERM; with LINKERD2_PROXY on that program too.

A client asks on and sees no failure: what is in flight is answered, it is told to go, and the process ends with
the last answer, long before its grace period.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest

from agent.core.facts import Process
from agent.core.proxy import ProxySettings
from agent.core.reasons import Reason
from agent.host import serving
from agent.sandbox.proxy import http2
from tests.contract.test_linkerd2_proxy import REDIRECTED, host, load, started
from tests.contract.test_proxy_runtime import ready
from tests.lab.child_proxies import ADDRESS, CLIENT_ADDRESS, SETTINGS, Options, ProxyHost, RemoteRuntime
from tests.lab.http2_peers import ANSWER, Application, Client, connected
from tests.lab.proxy_clients import PORT, dial, listen

__all__ = ["host"]

WITHIN = 60.0  # seconds; the grace period is longer
PATIENT, HASTY = replace(SETTINGS, grace=600), replace(SETTINGS, grace=1)


@contextlib.asynccontextmanager
async def talking(
    host: ProxyHost, settings: ProxySettings = PATIENT, *, outward: bool = False
) -> AsyncIterator[tuple[RemoteRuntime, Process, Application, Client]]:
    """A client whose connection through the proxy has carried a request. `outward`: out of the host."""
    here, there, address = host.client, host.network, ADDRESS
    if outward:
        here, there, address = host.network, host.client, CLIENT_ADDRESS
    await load(host, REDIRECTED)
    app = Application()
    listener = there.inside(partial(listen, address, PORT))
    async with (
        serving.closing(await asyncio.start_server(app.accept, sock=listener)),
        started(host, Options(settings, host.binary)) as (runtime, process),
    ):
        await ready(runtime, process)
        async with asyncio.timeout(WITHIN), connected(dial(here, address), f"{address}:{PORT}") as client:
            assert await client.answer(client.ask()) == ANSWER
            yield runtime, process, app, client
        await app.ended()


async def test_an_idle_connection_is_told_to_go_and_the_process_ends(host: ProxyHost) -> None:
    async with talking(host) as (runtime, process, _, client):
        await runtime.terminate(process)
        await client.closed.wait()
        assert client.last_streams[-1] == 1
        assert (await runtime.wait(process)).reason is Reason.PROXY_STOPPED


async def test_what_is_in_flight_is_answered_before_the_end(host: ProxyHost) -> None:
    await in_flight_is_answered(host, PATIENT)


async def in_flight_is_answered(host: ProxyHost, settings: ProxySettings, *, outward: bool = False) -> None:
    async with talking(host, settings, outward=outward) as (runtime, process, app, client):
        held = client.ask("/held")
        await runtime.terminate(process)
        await client.told.wait()
        assert client.last_streams[0] >= held
        app.release.set()
        assert await client.answer(held) == ANSWER
        await client.closed.wait()
        assert client.last_streams[-1] == held
        assert (await runtime.wait(process)).reason is Reason.PROXY_STOPPED


async def test_a_stream_that_outlives_grace_ends_with_its_connection(host: ProxyHost) -> None:
    """And without a word: no RST_STREAM comes, and no other GOAWAY."""
    await outlived(host, HASTY)


async def outlived(host: ProxyHost, settings: ProxySettings, *, outward: bool = False) -> None:
    async with talking(host, settings, outward=outward) as (runtime, process, app, client):
        held = client.ask("/held")
        await app.holds.wait()
        await runtime.terminate(process)
        with pytest.raises(ConnectionError):
            await client.answer(held)
        assert (len(client.last_streams), client.last_streams[-1], client.resets) == (2, held, [])
        assert (await runtime.wait(process)).reason is Reason.PROXY_STOPPED
        app.release.set()


# the stand-in's own: where in the bytes it speaks up


def frame(kind: int, stream: int, payload: bytes, flags: int = 0) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def test_a_goaway_stands_between_two_frames_however_the_bytes_come() -> None:
    answer = frame(1, 1, b"headers") + frame(0, 1, b"data", flags=1)
    ends = {len(frame(1, 1, b"headers")), len(answer)}
    for at in range(1, len(answer)):
        connection = http2.Connection()
        connection.from_client(http2.PREFACE + frame(1, 1, b"request", flags=1))
        before = connection.from_server(answer[:at])
        connection.end()
        said = connection.due()
        assert bool(said) is (at in ends), at
        after = connection.from_server(answer[at:])
        text = before + said + after
        place = text.index(frame(7, 0, (2**31 - 1).to_bytes(4) + bytes(4)))
        assert place in ends, at
        assert text.replace(text[place : place + 17 + 17], b"") == answer


def test_what_is_not_http2_passes_as_it_is() -> None:
    connection = http2.Connection()
    connection.end()
    for text in (b"PRI * HTTP/1.1\r\n", b"x" * 100):
        assert connection.from_client(text) == text
        assert connection.from_server(text) == text
        assert connection.due() == b""
    assert not connection.over
