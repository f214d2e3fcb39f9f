"""Reads the answer of a web server as leniently as Go's client does: h11 parses it, and nothing past its end."""

import asyncio
import re
from dataclasses import dataclass

import h11

BODY_CAP = 10 * 1024
HEAD_CAP = 1 << 20  # bytes; Go's client takes ten times as many
FOLLOWED = frozenset({301, 302, 303, 307, 308})


class Broken(Exception):
    """What is wrong with an answer."""


@dataclass(frozen=True)
class Answer:
    """`location`: where it says to ask on; None: here it ends."""

    status: int
    location: str | None = None


class Inbox(asyncio.Protocol):
    """What has arrived. A StreamReader would drop it once the connection breaks: a server that answers before it
    has read the request, and closes, breaks it."""

    def __init__(self) -> None:
        self._data, self._over = bytearray(), False
        self._error: Exception | None = None
        self._bell = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._bell.set()

    def eof_received(self) -> None:
        self._over = True
        self._bell.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._over, self._error = True, error
        self._bell.set()

    async def read(self) -> bytes:
        """b"" at the end. Raises OSError once all was read."""
        while not (self._data or self._over):
            await self._bell.wait()
            self._bell.clear()
        data = bytes(self._data)
        self._data.clear()
        if not data and self._error is not None:
            raise self._error
        return data


_SPACES = re.compile(rb"\A(HTTP/[0-9.]+)  +")
_HEAD_END = re.compile(rb"\n\r?\n")


def lenient(head: bytes) -> bytes:
    """Without what Go's client reads past and h11 refuses: more than one space before the status, names with a
    space in them, a length that is empty."""
    first, *fields = head.split(b"\n")
    kept, ignored = [_SPACES.sub(rb"\1 ", first)], False
    for line in fields:
        if not line.startswith((b" ", b"\t")):  # else it goes on with the one before
            ignored = _is_ignored(line)
        if not ignored:
            kept.append(line)
    return b"\n".join(kept)


def _is_ignored(line: bytes) -> bool:
    name, colon, value = line.partition(b":")
    empty = name.lower() == b"content-length" and not value.strip()
    return bool(colon) and (empty or b" " in name or b"\t" in name)


class Reader:
    def __init__(self, ours: h11.Connection, inbox: Inbox) -> None:
        self._ours, self._inbox = ours, inbox
        self._heard = b""  # the beginning of what was said
        self._ahead = bytearray()  # read, and not given to h11 yet

    async def answer(self) -> Answer:
        """Raises Broken, OSError. The body of a redirect that is followed is not read."""
        try:
            head = await self._head()
        except h11.RemoteProtocolError as error:
            raise Broken(self._not_http(error)) from None
        if head.location is None:
            try:
                await self._body()
            except h11.RemoteProtocolError as error:
                raise Broken(f"HTTP {head.status}, and then a body that is broken: {error}") from None
        return head

    async def _head(self) -> Answer:
        while True:
            await self._feed_head()
            event = await self._event()
            if isinstance(event, h11.Response):
                locations = [value for name, value in event.headers if name == b"location" and value]
                follow = event.status_code in FOLLOWED and locations
                return Answer(event.status_code, _text(locations[0]) if follow else None)
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                raise Broken("HTTP 101, which was not asked for")

    async def _feed_head(self) -> None:
        """A whole one, made lenient; or what there is, where there is no end of it."""
        looked = 0
        while (end := _HEAD_END.search(self._ahead, looked)) is None and len(self._ahead) <= HEAD_CAP:
            looked = max(0, len(self._ahead) - 2)
            data = await self._inbox.read()
            if not (data or self._ahead):
                raise Broken("it closed the connection without an answer")
            self._ahead += data
            self._heard = self._heard or data[:80]
            if not data:
                break
        if head := self._taken(end.end() if end else len(self._ahead)):
            self._ours.receive_data(lenient(head))

    def _taken(self, count: int) -> bytes:
        taken = bytes(self._ahead[:count])
        del self._ahead[:count]
        return taken

    async def _body(self) -> None:
        """One that breaks off is no answer; one that never ends is enough after a while."""
        size = 0
        while size < BODY_CAP:
            event = await self._event()
            if not isinstance(event, h11.Data):
                return
            size += len(event.data)

    async def _event(self) -> object:
        while (event := self._ours.next_event()) is h11.NEED_DATA:
            self._ours.receive_data(self._taken(len(self._ahead)) or await self._inbox.read())
        return event

    def _not_http(self, error: h11.RemoteProtocolError) -> str:
        if self._heard.startswith(b"\x15\x03"):
            return 'it answers in TLS, so this probe needs scheme = "https"'
        if self._heard.startswith(b"HTTP/1."):
            return f"the head of its answer is broken: {error}"
        return f"what it answers is not HTTP/1: {self._heard!r}"


def _text(value: bytes) -> str:
    """What is not ASCII is percent-encoded byte by byte, as Go does."""
    return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in value)
