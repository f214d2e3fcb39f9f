"""HTTPS probes against real TLS servers, whole and broken."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.probes import HostProber
from agent.core.probe import Attempt, ProbeSpec, Scheme
from agent.sandbox.identity.ca import Authority
from tests.contract.probe_servers import Serve, half_closes, hangs, http, lies, resets, saying, server


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server whose certificate is for another name, by an unknown authority."""
    certificate, key = Authority("nobody.knows").tls_server(["elsewhere.example"])
    pem: Path = tmp_path_factory.mktemp("tls") / "server.pem"
    pem.write_text(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def attempt(serve: Serve, tls: ssl.SSLContext | None, scheme: Scheme = "https") -> Attempt:
    async with server(serve, tls) as port:
        return await HostProber().attempt(ProbeSpec("p", "http", "127.0.0.1", port, scheme=scheme, timeout=2))


async def test_the_certificate_is_not_verified(tls: ssl.SSLContext) -> None:
    assert await attempt(saying(http("200 OK")), tls) == Attempt(True, "HTTP 200")
    assert await attempt(saying(http("503 No")), tls) == Attempt(False, "HTTP 503")


@pytest.mark.parametrize("serve", [half_closes, lies, resets])
async def test_a_server_that_is_none_behind_good_tls(serve: Serve, tls: ssl.SSLContext) -> None:
    found = await attempt(serve, tls)
    assert found.ok is False and found.detail


async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The first flight of the client is answered by the end."""
    await reader.read(10)


async def garbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"\x16\x03\x03\x00\x05nope!" * 10)
    await writer.drain()
    await reader.read()


@pytest.mark.parametrize("serve", [breaks_off, garbles, lies, resets])
async def test_broken_tls_fails_at_once(serve: Serve) -> None:
    found = await attempt(serve, None)
    assert found.ok is False and found.detail and "within" not in found.detail
    assert "not permitted" not in found.detail, "OpenSSL's numbers are not the kernel's"


async def test_broken_tls_is_said_to_be_tls() -> None:
    assert "TLS with 127.0.0.1 port" in (await attempt(garbles, None)).detail


async def test_a_handshake_that_hangs() -> None:
    async with server(hangs) as port:
        spec = ProbeSpec("p", "http", "127.0.0.1", port, scheme="https", timeout=0.3)
        assert await HostProber().attempt(spec) == Attempt(False, "no answer within 0.3 s")


async def test_plain_http_to_a_tls_server_fails(tls: ssl.SSLContext) -> None:
    found = await attempt(saying(http("200 OK")), tls, scheme="http")
    assert found.ok is False and found.detail


@pytest.fixture(autouse=True)
async def nothing_open() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left over: {left}"
