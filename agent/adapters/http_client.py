"""HTTP/1.1 as a client: h11 parses, asyncio's streams carry. No redirects, cookies, compression or proxies.

A connection serves one request at a time and is kept for the next one, as long as its answer was read to the end.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohappyeyeballs
import h11

MOST_HEAD: Final = 64 * 1024  # bytes
KEPT_FOR: Final = 15.0  # seconds; servers end an idle connection later
_AT_ONCE: Final = 1 << 16
_NEXT_ADDRESS_AFTER: Final = 0.25  # seconds, as RFC 8305 has it


class Broken(Exception):
    """The answer is no HTTP, or was broken off."""


class Disconnected(OSError):
    """The server closed the connection before it answered."""


@dataclass(frozen=True)
class Server:
    """`name`: whom its certificate has to be of; "": of `host`. `options`: of the TCP socket."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    name: str = ""
    options: Mapping[int, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD)
        self.used, self._answered = False, False
        self._rested_at = 0.0

    async def send(self, request: Request) -> "Answer":
        """The answer as soon as its head is there. Raises Broken, Disconnected, OSError."""
        length = {"Content-Length": str(len(request.body))} if request.body else {}
        headers = [*request.headers.items(), *length.items()]
        head = h11.Request(method=request.method, target=request.target, headers=headers)
        data = (self._http.send(head) or b"") + (self._http.send(h11.Data(data=request.body)) or b"")
        self._answered = False
        self._writer.write(data + (self._http.send(h11.EndOfMessage()) or b""))
        await self._writer.drain()
        event = await self.next()
        while isinstance(event, h11.InformationalResponse):
            event = await self.next()
        if not isinstance(event, h11.Response):
            raise Broken(f"{event!r} in the place of an answer")
        self._answered = True
        return Answer(self, event)

    async def next(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """Raises Broken, Disconnected, OSError."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                await self._receive()
        except h11.RemoteProtocolError as error:
            if self._reader.at_eof() and not self._answered and not self._http.trailing_data[0]:
                raise Disconnected("the server closed the connection") from None
            raise Broken(str(error)) from None
        return event

    async def _receive(self) -> None:
        try:
            self._http.receive_data(await self._reader.read(_AT_ONCE))
        except OSError as error:
            if not self._answered:
                raise
            raise Broken(str(error)) from None

    def rest(self, now: float) -> bool:
        """Whether it serves another request."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.used, self._rested_at = True, now
        return True

    def serves(self, now: float) -> bool:
        fresh = now - self._rested_at < KEPT_FOR
        return fresh and not self._reader.at_eof() and not self._writer.transport.is_closing()

    def abort(self) -> None:
        """A TLS good-bye would wait for the peer."""
        self._writer.transport.abort()


class Answer:
    def __init__(self, connection: Connection, head: h11.Response) -> None:
        self._connection = connection
        self.status = head.status_code
        self.headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}

    async def chunks(self, rest: float | None = None) -> AsyncIterator[bytes]:
        """`rest`: seconds for which it may be silent. Raises Broken, TimeoutError, OSError."""
        while True:
            async with asyncio.timeout(rest):
                event = await self._connection.next()
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)


async def connect(server: Server) -> Connection:
    """Raises OSError: ssl.SSLError, socket.gaierror and others."""
    found = await _addresses(server.host, server.port)
    made = await aiohappyeyeballs.start_connection(
        found,
        happy_eyeballs_delay=_NEXT_ADDRESS_AFTER,
        interleave=1,
        socket_factory=lambda info: opened(info, server.options),
    )
    reader, writer = await asyncio.open_connection(sock=made)
    # From here on the socket is the transport's. Closed behind its back, it would be the next connection's number.
    try:
        if server.tls:
            await writer.start_tls(server.tls, server_hostname=server.name or server.host)
    except BaseException:
        writer.transport.abort()
        raise
    return Connection(reader, writer)


async def _addresses(host: str, port: int) -> Sequence[aiohappyeyeballs.AddrInfoType]:
    """An address needs no resolver, so no other thread wakes for it. Raises socket.gaierror."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def opened(info: aiohappyeyeballs.AddrInfoType, options: Mapping[int, int]) -> socket.socket:
    family, kind, protocol, _, _ = info
    made = socket.socket(family=family, type=kind, proto=protocol)
    if options:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in options.items():
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
