"""HTTP and TCP probes against real servers on loopback, good and bad."""

import asyncio
import errno
import os
import resource
import socket
from unittest import mock

import pytest

from agent.adapters.probes import HostProber
from agent.core.probe import LONGEST_DETAIL, Attempt, ProbeKind, ProbeSpec
from tests.contract.probe_servers import (
    Serve,
    endless_body,
    endless_headers,
    half_closes,
    hangs,
    http,
    lies,
    resets,
    saying,
    server,
)


async def attempt(serve: Serve, kind: ProbeKind = "http", path: str = "/", timeout: float = 0.5) -> Attempt:
    async with server(serve) as port:
        spec = ProbeSpec("p", kind, "127.0.0.1", port, path=path, timeout=timeout)
        return await HostProber().attempt(spec)


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


@pytest.mark.parametrize("serve", [hangs, endless_headers, resets, half_closes, lies])
async def test_a_server_that_is_none_fails_in_time(serve: Serve) -> None:
    found = await attempt(serve)
    assert not found.ok and found.detail


async def test_an_endless_body_is_cut_and_its_status_counts() -> None:
    assert (await attempt(endless_body)).ok


@pytest.mark.parametrize("serve", [hangs, resets, lies])
async def test_tcp_passes_when_it_connects(serve: Serve) -> None:
    assert (await attempt(serve, kind="tcp")).ok


@pytest.mark.parametrize("greeting", [b"J\x00\x00\x00\x0a8.0.36", b"220 mail ESMTP\r\n"])
async def test_tcp_notes_a_server_whose_port_should_be_opaque(greeting: bytes) -> None:
    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()

    assert await attempt(greets, kind="tcp") == Attempt(True, "connected; the server speaks first")
    assert await attempt(hangs, kind="tcp") == Attempt(True, "connected")


@pytest.mark.parametrize("kind", ["tcp", "http"])
async def test_nobody_there(kind: ProbeKind) -> None:
    with socket.socket() as bound:  # bound and not listening: refused, and no other program can bind it
        bound.bind(("127.0.0.1", 0))
        found = await HostProber().attempt(ProbeSpec("p", kind, "127.0.0.1", bound.getsockname()[1]))
    assert not found.ok and "nothing listens" in found.detail


async def told(spec_headers: tuple[tuple[str, str], ...]) -> list[str]:
    """The head of the request that arrives."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n"))
        writer.write(http("200 OK").encode())
        await writer.drain()

    async with server(serve) as port:
        spec = ProbeSpec("p", "http", "127.0.0.1", port, headers=spec_headers)
        assert (await HostProber().attempt(spec)).ok
    return seen


async def test_headers_are_sent_and_may_replace_our_own() -> None:
    lines = await told((("Host", "db.example"), ("X-Probe", "1"), ("X-Probe", "2"), ("user-agent", "mine")))
    assert "Host: db.example" in lines and [x for x in lines if x.startswith("X-Probe")] == [
        "X-Probe: 1",
        "X-Probe: 2",
    ]
    assert [x for x in lines if x.lower().startswith("user-agent")] == ["user-agent: mine"]
    assert not any(x.lower().startswith("accept-encoding") for x in lines)


async def test_a_packed_body_is_left_packed() -> None:
    assert (await attempt(saying(http("200 OK", "Content-Encoding: gzip", body="no gzip")))).ok


@pytest.mark.parametrize("location", ["http://[::1", "http://127.0.0.1:99999/", "ftp://127.0.0.1/"])
async def test_a_redirect_to_nowhere_is_survived(location: str) -> None:
    found = await attempt(saying(*[http("302 Found", f"Location: {location}")] * 2))
    assert found.ok is False and found.detail


async def test_what_a_server_says_is_shown_in_short() -> None:
    found = await attempt(saying("HTTP/9 \x1b[31m" + "x" * 5000 + "\r\n\r\n"))
    assert not found.ok and len(found.detail) <= LONGEST_DETAIL and found.detail.isprintable()


@pytest.mark.parametrize("lack", ["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EAGAIN", "EADDRNOTAVAIL"])
async def test_what_this_host_has_run_out_of_is_no_verdict(monkeypatch: pytest.MonkeyPatch, lack: str) -> None:
    failing = mock.AsyncMock(side_effect=OSError(getattr(errno, lack), "…"))
    monkeypatch.setattr(asyncio, "open_connection", failing)
    found = await HostProber().attempt(ProbeSpec("p", "tcp", "127.0.0.1", 1))
    assert found.ok is None and found.detail.startswith("cannot try: ")


@pytest.mark.parametrize("kind", ["tcp", "http"])
async def test_no_descriptor_left_is_no_verdict(kind: ProbeKind) -> None:
    async with server(hangs) as port:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.open("/dev/null", os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
        try:
            found = await HostProber().attempt(ProbeSpec("p", kind, "127.0.0.1", port))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found == Attempt(None, "cannot try: Too many open files")


async def test_a_push_is_not_tried() -> None:
    with pytest.raises(ValueError, match="waited for"):
        await HostProber().attempt(ProbeSpec("p", "push"))


async def test_a_full_backlog_times_out() -> None:
    """A host that does not answer the connection at all."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        held = [socket.socket() for _ in range(4)]
        for sock in held:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        found = await HostProber().attempt(ProbeSpec("p", "tcp", "127.0.0.1", port, timeout=0.3))
        for sock in held:
            sock.close()
    assert found == Attempt(False, "no answer within 0.3 s")
