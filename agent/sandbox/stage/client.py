"""A client somewhere in the cluster: plain or meshed, one request or a steady stream of them."""

import asyncio
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from agent.sandbox.identity.ca import Authority

TIMEOUT, SLOW = aiohttp.ClientTimeout(total=5), aiohttp.ClientTimeout(total=30)


async def ask(
    url: str, timeout: aiohttp.ClientTimeout = TIMEOUT, begun: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """One plain request over a connection of its own. `begun` is called once the headers of the answer are here.
    Raises aiohttp.ClientError, TimeoutError."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), timeout=timeout) as session,
        session.get(url) as answer,
    ):
        answer.raise_for_status()
        begun()
        body: dict[str, Any] = await answer.json()
        return body


async def in_flight(url: str) -> "asyncio.Task[dict[str, Any]]":
    """A request to a page whose headers come before its end: it is in flight, or has failed."""
    begun = asyncio.Event()
    request = asyncio.create_task(ask(url, SLOW, begun.set))
    waiting = asyncio.create_task(begun.wait())
    await asyncio.wait({request, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return request


@dataclass(frozen=True)
class Meshed:
    """What a meshed peer saw: the answer, and the SPIFFE ID that the other side proved."""

    answer: str
    peer_id: str


async def ask_meshed(address: str, port: int, server_name: str, ca: Authority, identity: str) -> Meshed:
    """One request over mTLS, as a meshed peer opens it: SNI = the server name, own SVID, the other's verified."""
    context = mesh_context(ca, identity)
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=server_name)
        try:
            writer.write(f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
            answer = (await reader.read(65536)).decode()
            certificate: Mapping[str, Any] = writer.get_extra_info("ssl_object").getpeercert()
        finally:
            writer.transport.abort()
    names = [value for kind, value in certificate["subjectAltName"] if kind == "URI"]
    return Meshed(answer, names[0] if names else "")


def mesh_context(ca: Authority, identity: str) -> ssl.SSLContext:
    svid = ca.svid(identity, 300)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # a peer is who its SPIFFE ID says; its name is only the SNI
    context.load_verify_locations(cadata=ca.pem)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:  # ssl reads keys from files only
        pem.write(svid.key_pem + svid.cert_pem)
        pem.flush()
        context.load_cert_chain(pem.name)
    return context


@dataclass(kw_only=True)
class Paced:
    """Requests at a steady pace, whether those before have ended or not. `slowest`: seconds."""

    per_second: float = 20.0
    sent: int = 0
    slowest: float = 0.0
    _in_flight: dict[int, asyncio.Task[None]] = field(default_factory=dict)  # by number
    _ended: asyncio.Event = field(default_factory=asyncio.Event)  # replaced at each end of a request

    async def one(self, number: int) -> None:
        """Send the request of this number, and note what came of it."""
        raise NotImplementedError

    async def reached(self, count: int) -> None:
        """Return once the first `count` requests have been sent and have ended."""
        while self.sent < count or min(self._in_flight, default=count + 1) <= count:
            await self._ended.wait()

    async def run(self) -> None:
        """Until cancelled; requests in flight then are completed."""
        due = time.monotonic()
        try:
            while True:
                self.sent += 1
                self._in_flight[self.sent] = asyncio.create_task(self._timed(self.sent))
                due += 1 / self.per_second
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            if self._in_flight:
                await asyncio.wait(self._in_flight.values())

    async def _timed(self, number: int) -> None:
        began = time.monotonic()
        try:
            await self.one(number)
        finally:
            self.slowest = max(self.slowest, time.monotonic() - began)
            del self._in_flight[number]
            self._ended.set()
            self._ended = asyncio.Event()


@dataclass
class Load(Paced):
    """A steady stream of requests, each over a connection of its own. `url`: the target, or a function that
    chooses it."""

    url: str | Callable[[], str]
    seen: Counter[str] = field(default_factory=Counter)  # client address that the application saw → how often
    _failed: dict[int, str] = field(default_factory=dict)  # number of the request → what was seen

    @property
    def failed(self) -> list[str]:
        return self.failed_after(0)

    def failed_after(self, count: int) -> list[str]:
        """Of the requests that were sent after the first `count`."""
        return [what for number, what in sorted(self._failed.items()) if number > count]

    async def one(self, number: int) -> None:
        url = self.url if isinstance(self.url, str) else self.url()
        try:
            answer = await ask(url)
            self.seen[answer["from"]] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self._failed[number] = f"{type(error).__name__}: {str(error) or url}"
