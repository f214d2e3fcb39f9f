"""A meshed client in the cluster: HTTP/2 over mTLS on one connection, as another host's proxy opens it.

At a GOAWAY new requests take a new connection, and those that are open end on the old one; what the GOAWAY does
not name was not processed, and is sent again (RFC 9113 §6.8). A connection that cannot be opened is tried again,
as a proxy does while the request waits. A request whose connection breaks before its answer has failed, unless
`retries`: then it is sent again, so many times, as with Linkerd's retries for requests that may be repeated.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from hpack import Decoder, Encoder

from agent.sandbox.stage.client import Paced

PATIENCE = 5.0  # seconds for one request with all that it waits for
_AGAIN = 0.05  # seconds between two attempts to connect
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
_ACK = _END_STREAM = 0x1
_END_HEADERS = 0x4
_MUCH = (1 << 30).to_bytes(4)  # bytes of answers that a connection takes, so that no window is ever full


class NotProcessed(ConnectionError):
    """The other side says that it has done nothing with this request."""


class Broken(ConnectionError):
    """The connection ended before the answer."""


class Connection:
    """`told`: the other side takes no new requests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str) -> None:
        self._reader, self._writer, self._authority = reader, writer, authority
        self._encoder, self._decoder = Encoder(), Decoder()
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._status: dict[int, str] = {}
        self._next = 1
        self.told = False
        writer.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS) + _frame(_WINDOW_UPDATE, payload=_MUCH)
        )
        self._reading = asyncio.create_task(self._read())

    async def ask(self, path: str) -> str:
        """The status of the answer. Raises Broken, NotProcessed."""
        stream, self._next = self._next, self._next + 2
        headers = [(":method", "GET"), (":scheme", "http"), (":authority", self._authority), (":path", path)]
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[stream] = answer
        flags = _END_STREAM | _END_HEADERS
        self._writer.write(_frame(_HEADERS, flags, stream, self._encoder.encode(headers)))
        try:
            return await answer
        finally:
            self._asked.pop(stream, None)
            self._close_if_done()

    async def _read(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3]))
                self._take(head[3], head[4], int.from_bytes(head[5:]), payload)
        self.told = True
        self._fail(lambda _: True, Broken("the connection ended before the answer"))
        self._writer.close()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._writer.write(_frame(kind, _ACK, payload=payload if kind == _PING else b""))
        elif kind == _GOAWAY:
            self.told, last = True, int.from_bytes(payload[:4])
            self._fail(lambda asked: asked > last, NotProcessed("named by no GOAWAY"))
            self._close_if_done()
        elif kind == _HEADERS:
            self._status[stream] = dict(self._decoder.decode(payload, raw=True))[b":status"].decode()
        elif kind == _RST_STREAM:
            self._fail(lambda asked: asked == stream, Broken("the request was reset"))
        if kind in (_HEADERS, _DATA) and flags & _END_STREAM:
            answer = self._asked.get(stream)
            if answer is not None and not answer.done():
                answer.set_result(self._status.pop(stream))

    def _fail(self, which: Callable[[int], bool], error: ConnectionError) -> None:
        for stream, answer in self._asked.items():
            if which(stream) and not answer.done():
                answer.set_exception(error)

    def _close_if_done(self) -> None:
        if self.told and not self._asked:
            self._writer.close()


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


@dataclass
class MeshedLoad(Paced):
    """A steady stream of requests to one host. `again`: how often one was sent again, after its connection had
    broken."""

    address: str
    port: int
    server_name: str
    context: ssl.SSLContext
    per_second: float = field(default=50.0, kw_only=True)
    retries: int = 0
    again: int = 0
    failed: list[str] = field(default_factory=list)
    _connection: Connection | None = None
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def one(self, number: int) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                status = await self.ask("/")
            if status != "200":
                self.failed.append(f"status {status}")
        except (OSError, TimeoutError) as error:
            self.failed.append(f"{type(error).__name__}: {error}")

    async def ask(self, path: str) -> str:
        """Raises OSError."""
        left = self.retries
        while True:
            try:
                return await (await self._open()).ask(path)
            except NotProcessed:
                continue
            except Broken:
                if not left:
                    raise
                left -= 1
                self.again += 1

    async def _open(self) -> Connection:
        async with self._opening:
            while self._connection is None or self._connection.told:
                self._connection = None
                with contextlib.suppress(OSError):  # refused, or ended in the handshake: nothing was asked yet
                    self._connection = await self._connected()
                    break
                await asyncio.sleep(_AGAIN)
            return self._connection

    async def _connected(self) -> Connection:
        reader, writer = await asyncio.open_connection(
            self.address, self.port, ssl=self.context, server_hostname=self.server_name
        )
        return Connection(reader, writer, f"{self.address}:{self.port}")
