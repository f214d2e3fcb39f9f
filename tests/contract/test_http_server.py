"""The server of HTTP on a unix socket, by bytes."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters import http_server
from agent.adapters.http_server import LONGEST_BODY, Request, Response, Route, Server

GET = b"GET /thing HTTP/1.1\r\nHost: x\r\n\r\n"


class Things:
    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def get(self, request: Request) -> Response:
        self.asked.append(request)
        await self.hold.wait()
        return Response({"length": -1 if request.body is None else len(request.body)})


@pytest.fixture
async def things() -> Things:
    return Things()


@pytest.fixture
async def path(things: Things, tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        routes = [Route("GET", "/thing", things.get), Route("POST", "/named/{name}", things.get)]
        async with Server(routes).serving(listener.dup(), 10):
            yield path


async def said(path: Path, *pieces: bytes, end: bool = True) -> bytes:
    """All that comes until the server closes; `end`: nothing more is asked."""
    reader, writer = await asyncio.open_unix_connection(path)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    if end:
        writer.write_eof()
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer


async def test_requests_one_after_the_other_on_one_connection(path: Path, things: Things) -> None:
    answer = await said(path, GET + GET[:10], GET[10:] + GET)
    assert answer.count(b"HTTP/1.1 200") == 3 and len(things.asked) == 3
    assert {one.uid for one in things.asked} == {os.geteuid()}


async def test_name_query_and_body(path: Path, things: Things) -> None:
    head = b"POST /named/o%20dd%2F?a=b%20c&d= HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
    assert b'{"length": 4}' in await said(path, head + b"bo", b"dy")
    (one,) = things.asked
    assert (one.name, one.query, one.body) == ("o dd/", {"a": "b c", "d": ""}, b"body")


async def test_a_body_in_chunks_after_100_continue(path: Path, things: Things) -> None:
    head = b"POST /named/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    answer = await said(path, head, b"3\r\nabc\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 100 ") and b'{"length": 3}' in answer


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /other HTTP/1.1", b"404"),
        (b"POST /thing HTTP/1.1", b"405"),
        (b"GET /named/a/b HTTP/1.1", b"404"),
        (b"GET /named/ HTTP/1.1", b"404"),
        (b"GET /named/a HTTP/1.1", b"405"),
    ],
)
async def test_what_is_not_served(path: Path, things: Things, request_line: bytes, status: bytes) -> None:
    answer = await said(path, request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status) and things.asked == []


@pytest.mark.parametrize(
    "data", [b"SSH-2.0\r\n\r\n", b"GET /thing HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 40_000, b"\x16\x03\x01" * 10]
)
async def test_what_is_no_request_is_answered_and_ended(path: Path, things: Things, data: bytes) -> None:
    answer = await said(path, data, end=False)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431")) and things.asked == []


async def test_a_body_that_is_too_long_is_passed_over_and_the_connection_ends(path: Path, things: Things) -> None:
    head = b"POST /named/a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (LONGEST_BODY * 3)
    answer = await said(path, head, b"a" * LONGEST_BODY * 3)
    assert b'{"length": -1}' in answer and answer.count(b"HTTP/1.1") == 1


async def test_a_client_that_says_nothing_or_leaves_costs_nothing(path: Path, things: Things) -> None:
    for data in (b"", b"GET /th"):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(data)
        writer.transport.abort()
    assert b"200" in await said(path, GET)


@pytest.mark.parametrize(
    "data", [b"", GET[:10], GET, b"POST /named/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na"]
)
async def test_a_client_that_falls_silent_is_let_go(
    path: Path, things: Things, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a request, within one, and after one."""
    monkeypatch.setattr(http_server, "_IDLE", 0.1)
    answer = await said(path, data, end=False)
    assert answer.count(b"HTTP/1.1") == (data == GET)


async def test_the_end_of_the_server_waits_for_nobody(things: Things, tmp_path: Path) -> None:
    things.hold.clear()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        async with asyncio.timeout(30), Server([Route("GET", "/thing", things.get)]).serving(listener.dup(), 10):
            asking = asyncio.create_task(said(tmp_path / "s", GET, end=False))
            while not things.asked:
                await asyncio.sleep(0)
        assert await asking == b""
