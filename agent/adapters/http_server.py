"""HTTP/1.1 on a listening socket: h11 parses, asyncio's streams carry. Small requests, answers in JSON or text.

What a client sends is bounded in size, and in time while nothing is asked: a local user must not hold on to
memory or descriptors.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

from agent.adapters.connections import Admission, Connections
from agent.host import peer, serving

LONGEST_BODY: Final = 1 << 16  # bytes
_LONGEST_HEAD: Final = 1 << 14  # bytes
_IDLE: Final = 75.0  # seconds between two requests, and for one to come whole
_LINGER: Final = 2.0  # seconds in which the rest of a body that is too long is passed over
_LAST_WORDS: Final = 0.1  # seconds for answers that are being made when the server ends
_AT_ONCE: Final = 1 << 16


@dataclass(frozen=True)
class Request:
    """`name`: the last part of the path where the route has {name}. `body`: None if it is too long. `uid`,
    `groups`: the client's, as the kernel reports them; -1 and none for one that is not on a unix socket."""

    query: Mapping[str, str]
    body: bytes | None
    uid: int
    name: str = ""
    accept: str = ""
    groups: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Response:
    """`body`: JSON, plain text, bytes of the content type `kind`, or chunks of it that are sent as they come."""

    body: Mapping[str, Any] | list[Any] | str | bytes | AsyncGenerator[bytes, None]
    status: int = 200
    kind: str = ""

    def encoded(self) -> tuple[str, bytes | AsyncGenerator[bytes, None]]:
        if isinstance(self.body, str):
            return self.kind or "text/plain; charset=utf-8", self.body.encode()
        if isinstance(self.body, bytes | AsyncGenerator):
            return self.kind, self.body
        return "application/json; charset=utf-8", json.dumps(self.body).encode()


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Described:
    """What the page of the HTTP API says of a route. `who`: may ask. `names`: what the path may end in, where
    that is known. `query`, `body`, `answer`: JSON Schemas; `query` by name, `answer` {} for any JSON, None for
    text."""

    summary: str
    who: str
    names: Sequence[str] = ()
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = field(default_factory=dict)
    refusals: Sequence[int] = ()


@dataclass(frozen=True)
class Route:
    """`path`: it may end in {name}."""

    method: str
    path: str
    handler: Handler
    described: Described | None = None


def refusal(status: int, cause: str, remedy: str) -> Response:
    return Response({"error": cause, "remedy": remedy}, status)


@dataclass
class Server:
    routes: Sequence[Route]
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _busy: set[asyncio.Task[None]] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def serving(self, listener: socket.socket, backlog: int) -> AsyncIterator[None]:
        loop, connections = asyncio.get_running_loop(), Connections()

        def protocol() -> asyncio.Protocol:
            reader = asyncio.StreamReader(limit=_AT_ONCE, loop=loop)
            return Admission(connections, asyncio.StreamReaderProtocol(reader, self._connected, loop=loop))

        server = await loop.create_server(protocol, sock=listener, backlog=backlog)
        try:
            yield
        finally:
            await serving.close(server)
            await self._end()

    async def _end(self) -> None:
        """A client that waits for news must not hold up the end of the agent."""
        if self._busy:
            await asyncio.wait(set(self._busy), timeout=_LAST_WORDS)
        for task in (left := set(self._tasks)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await _Conversation(reader, writer, self._answer).hold()
        except (TimeoutError, OSError, h11.RemoteProtocolError):
            pass  # the client fell silent, went away, or does not speak HTTP
        finally:
            writer.transport.abort()
            self._busy.discard(task)
            self._tasks.discard(task)

    async def _answer(self, asked: h11.Request, body: bytes | None, who: "_Peer") -> Response:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            return await self._route(asked, body, who)
        finally:
            self._busy.discard(task)

    async def _route(self, asked: h11.Request, body: bytes | None, who: "_Peer") -> Response:
        url = urlsplit(asked.target.decode("latin-1"))
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        known = False
        for route in self.routes:
            name = _matched(route.path, url.path)
            if name is not None and route.method == asked.method.decode():
                accept = _header(asked, b"accept")
                return await route.handler(Request(query, body, who.uid, name, accept, who.groups))
            known = known or name is not None
        return refusal(405 if known else 404, "nothing is served there", "see docs/status.md")


def _header(asked: h11.Request, wanted: bytes) -> str:
    return ", ".join(value.decode("latin-1") for name, value in asked.headers if name == wanted)


def _matched(route: str, path: str) -> str | None:
    """The name in the path, "" where the route has none; None: it is another path."""
    if not route.endswith("{name}"):
        return "" if route == path else None
    start = route.removesuffix("{name}")
    name = path.removeprefix(start)
    return unquote(name) if path.startswith(start) and name and "/" not in name else None


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


@dataclass(frozen=True)
class _Peer:
    uid: int
    groups: frozenset[int]


class _Conversation:
    """The requests of one connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[h11.Request, bytes | None, "_Peer"], Awaitable[Response]],
    ) -> None:
        self._reader, self._writer, self._answer = reader, writer, answer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)
        client = writer.get_extra_info("socket")
        self._who = _Peer(peer.uid(client), peer.groups(client))

    async def hold(self) -> None:
        """Until the client ends it. Raises TimeoutError, OSError, h11.RemoteProtocolError."""
        while True:
            try:
                async with asyncio.timeout(_IDLE):
                    asked = await self._next()
                    if not isinstance(asked, h11.Request):
                        return
                    body = await self._body()
            except h11.RemoteProtocolError as error:
                await self._send(refusal(error.error_status_hint, "the request is no HTTP", "see docs/status.md"))
                raise
            await self._send(await self._answer(asked, body, self._who))
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                await self._linger()
                return
            self._http.start_next_cycle()

    async def _body(self) -> bytes | None:
        if self._http.they_are_waiting_for_100_continue:
            self._write(h11.InformationalResponse(status_code=100, headers=[]))
        body = bytearray()
        while isinstance(event := await self._next(), h11.Data):
            body += event.data
            if len(body) > LONGEST_BODY:
                return None
        return bytes(body)

    async def _next(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_AT_ONCE))
        return event

    async def _send(self, response: Response) -> None:
        if self._http.our_state not in (h11.SEND_RESPONSE, h11.IDLE):
            return
        kind, body = response.encoded()
        length = (
            ("Content-Length", str(len(body))) if isinstance(body, bytes) else ("Transfer-Encoding", "chunked")
        )
        self._write(h11.Response(status_code=response.status, headers=[("Content-Type", kind), length]))
        async with contextlib.aclosing(_once(body) if isinstance(body, bytes) else body) as chunks:
            async for chunk in chunks:
                self._write(h11.Data(data=chunk))
                await self._drain()
        self._write(h11.EndOfMessage())
        await self._drain()

    async def _drain(self) -> None:
        async with asyncio.timeout(_IDLE):
            await self._writer.drain()

    def _write(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")

    async def _linger(self) -> None:
        """A connection that is closed with something unread breaks, and the client may miss the answer."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        async with asyncio.timeout(_LINGER):
            while await self._reader.read(_AT_ONCE):
                pass
