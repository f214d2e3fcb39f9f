"""A client and a server of HTTP/2 without TLS, by the library h2: for tests of what a proxy does between them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from hpack import Encoder

ANSWER = b"answered"


class Application:
    """Answers each request at once, and one for /held once `release` is set. `holds`: one has come."""

    def __init__(self) -> None:
        self.release, self.holds = asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(self._serve(reader, writer))

    async def ended(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoken = H2Connection(H2Configuration(client_side=False))
        spoken.initiate_connection()
        writer.write(spoken.data_to_send())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                for event in spoken.receive_data(data):
                    if isinstance(event, RequestReceived):
                        held = dict(event.headers)[b":path"] == b"/held"
                        self._keep(self._answer(spoken, writer, event.stream_id, held))
                writer.write(spoken.data_to_send())
        writer.close()

    async def _answer(self, spoken: H2Connection, writer: asyncio.StreamWriter, stream: int, held: bool) -> None:
        spoken.send_headers(stream, [(":status", "200")])
        writer.write(spoken.data_to_send())
        if held:
            self.holds.set()
            await self.release.wait()
        spoken.send_data(stream, ANSWER, end_stream=True)
        writer.write(spoken.data_to_send())


class Client:
    """One connection, which goes on after a GOAWAY, as the library does not. `last_streams`: what each GOAWAY has
    named, in order. `resets`: the streams that were reset."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str) -> None:
        self._reader, self._writer, self._authority = reader, writer, authority
        self._headers = Encoder()
        self._answers: dict[int, bytes] = {}
        self._ended: dict[int, asyncio.Event] = {}
        self._next = 1
        self.last_streams: list[int] = []
        self.resets: list[int] = []
        self.told, self.closed = asyncio.Event(), asyncio.Event()
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS))

    def ask(self, path: str = "/") -> int:
        """The stream of a request that has been sent."""
        stream, self._next = self._next, self._next + 2
        self._ended[stream], self._answers[stream] = asyncio.Event(), b""
        headers = [(":method", "GET"), (":scheme", "http"), (":authority", self._authority), (":path", path)]
        flags = _END_STREAM | _END_HEADERS
        self._writer.write(_frame(_HEADERS, flags, stream, self._headers.encode(headers)))
        return stream

    async def answer(self, stream: int) -> bytes:
        """Raises ConnectionError: the other side has closed before its end."""
        closed, ended = (asyncio.ensure_future(one.wait()) for one in (self.closed, self._ended[stream]))
        await asyncio.wait({closed, ended}, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        if not ended.done():
            ended.cancel()
            raise ConnectionError("closed before the answer's end")
        return self._answers[stream]

    async def read(self) -> None:
        """Until the other side closes."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3]))
                self._take(head[3], head[4], int.from_bytes(head[5:]), payload)
        self.closed.set()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._writer.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind == _GOAWAY:
            self.last_streams.append(int.from_bytes(payload[:4]))
            self.told.set()
        elif kind == _RST_STREAM:
            self.resets.append(stream)
        elif kind == _DATA:
            self._answers[stream] += payload
        if stream and flags & _END_STREAM:
            self._ended[stream].set()


_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7
_ACK = _END_STREAM = 0x1
_END_HEADERS = 0x4


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


@contextlib.asynccontextmanager
async def connected(connection: socket.socket, authority: str) -> AsyncIterator[Client]:
    connection.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=connection)
    client = Client(reader, writer, authority)
    reading = asyncio.create_task(client.read())
    try:
        yield client
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.close()
