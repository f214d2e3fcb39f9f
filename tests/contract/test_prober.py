"""The network prober against real servers on loopback, good and bad."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from agent.adapters.probes import NetworkProber
from agent.core.probe import Attempt, ProbeKind, ProbeSpec

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    open_: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            open_.discard(task)
            writer.transport.abort()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in list(open_):
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)


async def attempt(serve: Serve, kind: ProbeKind = "http", path: str = "/", timeout: float = 0.5) -> Attempt:
    async with server(serve) as port:
        spec = ProbeSpec("p", kind, "127.0.0.1", port, path=path, timeout=timeout)
        return await NetworkProber().attempt(spec)


def saying(*answers: str) -> Serve:
    """Answers one request after the other, each on a connection of its own."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0).encode())
        await writer.drain()

    return serve


def http(status: str, *headers: str, body: str = "") -> str:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines)


@pytest.mark.parametrize(
    ("status", "ok"),
    [("200 OK", True), ("204 No", True), ("399 Odd", True), ("400 Bad", False), ("500 Oh", False)],
)
async def test_success_is_200_to_399(status: str, ok: bool) -> None:
    assert await attempt(saying(http(status))) == Attempt(ok, f"HTTP {status[:3]}")


async def test_a_redirect_on_the_same_host_is_followed() -> None:
    onward = http("302 Found", "Location: /elsewhere")
    assert not (await attempt(saying(onward, http("500 Oh")))).ok
    assert (await attempt(saying(onward, http("200 OK")))).ok


async def test_a_redirect_to_another_host_is_an_answer() -> None:
    assert (await attempt(saying(http("302 Found", "Location: http://192.0.2.1/")))).ok


async def test_redirects_end() -> None:
    found = await attempt(saying(*[http("302 Found", "Location: /")] * 20))
    assert not found.ok and "redirects" in found.detail


async def test_the_path_and_the_name_that_are_sent() -> None:
    seen = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(http("200 OK").encode())
        await writer.drain()

    await attempt(serve, path="/healthz?deep=1")
    assert seen[0].startswith("GET /healthz?deep=1 HTTP/1.1\r\n") and "fairlead-probe" in seen[0]


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    await asyncio.Event().wait()


async def endless_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: " + b"x" * 1000 + b"\r\n")
        await writer.drain()


async def endless_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    peer: socket.socket = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def half_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    writer.write_eof()
    await asyncio.Event().wait()


async def lies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await writer.drain()


@pytest.mark.parametrize("serve", [hangs, endless_headers, resets, half_closes, lies])
async def test_a_server_that_is_none_fails_in_time(serve: Serve) -> None:
    found = await attempt(serve)
    assert not found.ok and found.detail


async def test_an_endless_body_is_cut_and_its_status_counts() -> None:
    assert (await attempt(endless_body)).ok


@pytest.mark.parametrize("serve", [hangs, resets, lies])
async def test_tcp_passes_when_it_connects(serve: Serve) -> None:
    assert (await attempt(serve, kind="tcp")).ok


@pytest.mark.parametrize("kind", ["tcp", "http"])
async def test_nobody_there(kind: ProbeKind) -> None:
    with socket.socket() as bound:  # bound and not listening: refused, and nobody else can take it
        bound.bind(("127.0.0.1", 0))
        found = await NetworkProber().attempt(ProbeSpec("p", kind, "127.0.0.1", bound.getsockname()[1]))
    assert not found.ok and "nothing listens" in found.detail


async def test_a_full_backlog_times_out() -> None:
    """A host that does not answer the connection at all."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        held = [socket.socket() for _ in range(4)]
        for sock in held:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        found = await NetworkProber().attempt(ProbeSpec("p", "tcp", "127.0.0.1", port, timeout=0.3))
        for sock in held:
            sock.close()
    assert found == Attempt(False, "no answer within 0.3 s")
