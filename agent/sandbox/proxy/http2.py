"""HTTP/2 as far as the end of a connection goes, seen from between client and server: which streams are open, and
GOAWAY between two frames (RFC 9113 §6.8).

As linkerd2-proxy does at SIGTERM: a GOAWAY that allows every stream, with a PING; once that is answered, no stream
is on its way any more, and a second GOAWAY names the last one. The connection ends with its last stream.
"""

from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = 9  # bytes before a frame's payload
_DATA, _HEADERS, _RST_STREAM, _PING, _GOAWAY = 0x0, 0x1, 0x3, 0x6, 0x7
_ACK = _END_STREAM = 0x1
_EVERY_STREAM = 2**31 - 1
_MARK = b"standing"  # in the PING: eight bytes


class Connection:
    """What passes is fed to `from_client` and `from_server`, which return what is to be passed on."""

    def __init__(self) -> None:
        self._spoken: bool | None = None  # None: the client has not sent enough to know
        self._begin = b""
        self._client, self._server = _Frames(), _Frames()
        self._open: dict[int, set[str]] = {}  # stream → the sides that have not ended it
        self._last = 0  # the highest stream that the client has opened
        self._due: list[bytes] = []  # what the client gets at the next end of a frame
        self._ending = self._named = False  # the first GOAWAY is due or sent; the second is

    @property
    def over(self) -> bool:
        """The client knows which stream was the last, and all have ended."""
        return self._named and not self._due and not self._open

    def from_client(self, data: bytes) -> bytes:
        if self._spoken is None:
            self._begin += data
            if not self._begin.startswith(PREFACE):
                self._spoken = None if PREFACE.startswith(self._begin) else False
                return data
            self._spoken = True
            rest = self._begin[len(PREFACE) :]
            return data[: len(data) - len(rest)] + self._of_client(rest)
        return self._of_client(data) if self._spoken else data

    def _of_client(self, data: bytes) -> bytes:
        return b"".join(frame for frame in self._client.feed(data) if not self._taken(frame))

    def _taken(self, frame: bytes) -> bool:
        """It answers our PING, so it is not for the server."""
        kind, flags, stream = _head(frame)
        if kind == _PING and flags & _ACK and frame[_HEAD:] == _MARK:
            self._due.append(_goaway(self._last))
            self._named = True
            return True
        if kind == _HEADERS and stream > self._last:
            self._last, self._open[stream] = stream, {"client", "server"}
        self._note("client", kind, flags, stream)
        return False

    def from_server(self, data: bytes) -> bytes:
        before = self._server.partial
        frames = list(self._server.feed(data))
        for frame in frames:
            self._note("server", *_head(frame))
        if not self._due or (before and not frames):
            return data
        at = len(frames[0]) - before if before else 0
        return data[:at] + self._said() + data[at:]

    def end(self) -> None:
        """From now on the client is told to go."""
        if not self._ending:
            self._ending = True
            self._due += [_goaway(_EVERY_STREAM), _frame(_PING, 0, _MARK)]

    def due(self) -> bytes:
        """What the client gets now, between two frames of the server."""
        return self._said() if self._spoken and not self._server.partial else b""

    def _said(self) -> bytes:
        if not self._spoken:
            return b""
        said, self._due = b"".join(self._due), []
        return said

    def _note(self, side: str, kind: int, flags: int, stream: int) -> None:
        if kind == _RST_STREAM:
            self._open.pop(stream, None)
        elif kind in (_DATA, _HEADERS) and flags & _END_STREAM and stream in self._open:
            self._open[stream].discard(side)
            if not self._open[stream]:
                del self._open[stream]


class _Frames:
    """Whole frames, of bytes as they come."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def partial(self) -> int:
        """Bytes of a frame whose end has not come yet."""
        return len(self._rest)

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        while len(self._rest) >= _HEAD and len(self._rest) >= (size := _HEAD + int.from_bytes(self._rest[:3])):
            frame, self._rest = self._rest[:size], self._rest[size:]
            yield frame


def _head(frame: bytes) -> tuple[int, int, int]:
    return frame[3], frame[4], int.from_bytes(frame[5:_HEAD]) & _EVERY_STREAM


def _goaway(last: int) -> bytes:
    return _frame(_GOAWAY, 0, last.to_bytes(4) + bytes(4))  # without an error


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + bytes(4) + payload
