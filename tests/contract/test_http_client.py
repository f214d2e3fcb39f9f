"""The client of HTTP against servers of one behaviour each: answers, and when a connection serves again."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters import http_client
from agent.adapters.http_client import KEPT_FOR, Broken, Connection, Disconnected, Request, Server
from agent.sandbox.identity.ca import Authority
from tests.contract.probe_servers import Serve, endless_headers, http, lies, resets, saying, server
from tests.contract.status_worlds import server_tls

GET = Request("GET", "/", {"Host": "x"})


async def connected(port: int) -> Connection:
    return await http_client.connect(Server("127.0.0.1", port))


async def told(connection: Connection, request: Request = GET) -> tuple[int, bytes]:
    answer = await connection.send(request)
    return answer.status, b"".join([chunk async for chunk in answer.chunks()])


def repeating(answer: str) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer.encode())

    return serve


CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (http("200 OK", body="hello"), (200, b"hello")),
        (http("204 No Content"), (204, b"")),
        (http("404 Not Found", "X-Other: y", body="no"), (404, b"no")),
        (CHUNKED, (200, b"abcde")),
        ("HTTP/1.1 100 Continue\r\n\r\n" + http("200 OK", body="then"), (200, b"then")),
    ],
)
async def test_an_answer_comes_whole_and_the_connection_serves_again(
    answer: str, expected: tuple[int, bytes]
) -> None:
    async with server(repeating(answer)) as port:
        connection = await connected(port)
        for _ in range(3):
            assert await told(connection) == expected
            assert connection.rest(now=100.0) and connection.serves(100.0)
        assert not connection.serves(100.0 + KEPT_FOR)
        connection.abort()


async def test_an_address_needs_no_resolver_and_so_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def lookup(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async with server(repeating(http("200 OK", body="hello"))) as port:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
        connection = await connected(port)
        assert await told(connection) == (200, b"hello")
        connection.abort()
        with pytest.raises(socket.gaierror):
            await http_client.connect(Server("name.example", port))
    assert asked == ["name.example"]


async def test_a_connection_that_is_cancelled_leaves_its_socket_to_no_other(tmp_path: Path) -> None:
    """At each step on its way: one that was timed out when its handshake ended."""
    authority = Authority("example.org")
    tls = server_tls(authority, ["127.0.0.1"], tmp_path)
    trusting = ssl.create_default_context(cadata=authority.pem)
    cancelled, steps = 0, 0
    async with server(repeating(http("200 OK", body="hello")), tls) as port:
        there = Server("127.0.0.1", port, trusting)
        while True:
            connecting = asyncio.create_task(http_client.connect(there))
            for _ in range(steps):
                await asyncio.sleep(0)
            if connecting.done():
                connecting.result().abort()
                break
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            connection = await http_client.connect(there)
            assert await told(connection) == (200, b"hello")
            connection.abort()
            cancelled, steps = cancelled + connecting.cancelled(), steps + 1
    assert cancelled > 5


async def test_a_request_is_as_it_was_asked() -> None:
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.readuntil(b"\r\n\r\n"))
        seen.extend(await reader.readexactly(4))
        writer.write(http("200 OK").encode())

    async with server(serve) as port:
        connection = await connected(port)
        await told(connection, Request("PATCH", "/a?b=c%3D", {"Host": "x", "X-Mine": "1"}, b"body"))
        connection.abort()
    expected = b"PATCH /a?b=c%3D HTTP/1.1\r\nHost: x\r\nX-Mine: 1\r\nContent-Length: 4\r\n\r\nbody"
    assert seen == expected


async def test_an_answer_that_was_not_read_leaves_a_connection_of_no_use() -> None:
    async with server(saying(http("200 OK", body="hello"))) as port:
        connection = await connected(port)
        await connection.send(GET)
        assert not connection.rest(now=0.0)
        connection.abort()


async def test_a_server_that_says_it_will_close_is_not_asked_again() -> None:
    async with server(saying(http("200 OK", "Connection: close", body="bye"))) as port:
        connection = await connected(port)
        assert await told(connection) == (200, b"bye")
        assert not connection.rest(now=0.0)
        connection.abort()


async def test_a_server_that_ends_a_resting_connection_is_noticed() -> None:
    async with server(saying(http("200 OK", body="one"))) as port:
        connection = await connected(port)
        await told(connection)
        assert connection.rest(now=0.0)
        async with asyncio.timeout(10):
            while connection.serves(now=0.0):
                await asyncio.sleep(0)
        connection.abort()


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    await writer.drain()
    writer.write_eof()


@pytest.mark.parametrize(
    ("serve", "error"),
    [
        (closes, (Disconnected, ConnectionResetError)),
        (resets, (Disconnected, ConnectionError)),
        (half, Broken),
        (lies, (Broken, ConnectionError)),
        (endless_headers, Broken),
        (saying("HTTP/1.1 200 OK\r\nConte"), Broken),
    ],
)
async def test_what_is_no_answer(serve: Serve, error: type[Exception] | tuple[type[Exception], ...]) -> None:
    async with server(serve) as port:
        connection = await connected(port)
        with pytest.raises(error):
            await told(connection)
        connection.abort()


async def test_a_body_that_rests_too_long() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await asyncio.Event().wait()

    async with server(serve) as port:
        connection = await connected(port)
        chunks: AsyncIterator[bytes] = (await connection.send(GET)).chunks(rest=0.05)
        with pytest.raises(TimeoutError):
            [chunk async for chunk in chunks]
        connection.abort()


async def test_a_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first refuses."""

    async with server(saying(http("200 OK", body="here"))) as port:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.9", "127.0.0.1")]

        async def getaddrinfo(*_: object, **__: object) -> object:
            return found

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        connection = await http_client.connect(Server("two.example", port))
        assert await told(connection) == (200, b"here")
        connection.abort()
