"""One request over a unix socket, and its whole answer: in bounded time, of bounded size, from a trusted peer.

The agent's answers have one form, which is compared as a whole. An answer of any other form is read by
`http.client`, which takes as long to load as all else that `fairlead status` needs.
"""

from __future__ import annotations

import os
import socket
import time

from agent.host import agent_uid, peer

TYPE_CHECKING = False  # type checkers know this name; that of `typing` takes long to load
if TYPE_CHECKING:
    from typing import IO

MOST = 8 << 20  # bytes of an answer
_AT_ONCE = 1 << 16
_REQUEST = "{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n"
_BODY = "Content-Type: application/json\r\nContent-Length: {}\r\n"
_ANSWER = (
    b"HTTP/1.1 %b \r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\nConnection: close"
)
_END = b"\r\n\r\n"


class Untrusted(Exception):
    """What answered is not an agent; says why."""


class Unanswered(Exception):
    """The connection ended before the answer did; says how."""


class Answer:
    def __init__(self, status: int, reason: str, body: bytes) -> None:
        self.status, self.reason, self.body = status, reason, body


def ask(path: str, method: str, target: str, body: bytes | None, until: float) -> Answer:
    """`until`: the deadline, by CLOCK_MONOTONIC. Raises Untrusted, Unanswered, TimeoutError, OSError."""
    request = _REQUEST.format(method, target, "" if body is None else _BODY.format(len(body))).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _limit(connection, until)
        connection.connect(path)
        if (uid := peer.uid(connection)) not in {0, os.geteuid(), agent_uid()}:
            raise Untrusted(f"{path} belongs to uid {uid}, not to root or the agent")
        try:
            connection.sendall(request + (body or b""))
            return _read(_received(connection, until))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Unanswered(repr(error)) from None


def _received(connection: socket.socket, until: float) -> bytes:
    """All that comes until the peer ends."""
    received = bytearray()
    while True:
        _limit(connection, until)
        part = connection.recv(_AT_ONCE)
        received += part
        if not part:
            return bytes(received)
        if len(received) > MOST:
            raise Untrusted(f"the answer is longer than {MOST >> 20} MiB")


def _limit(connection: socket.socket, until: float) -> None:
    rest = until - time.monotonic()
    if rest <= 0:
        raise TimeoutError
    connection.settimeout(rest)


def _read(received: bytes) -> Answer:
    head, _, body = received.partition(_END)
    status = head[9:12]
    if status.isdigit() and head == _ANSWER % (status, len(body)):
        return Answer(int(status), "", body)
    return _read_as_any(received)


def _read_as_any(received: bytes) -> Answer:
    import http.client

    response = http.client.HTTPResponse(_Source(received))  # type: ignore[arg-type]  # makefile() is all it asks for
    try:
        response.begin()
        return Answer(response.status, response.reason, response.read())
    except http.client.HTTPException as error:
        raise Unanswered(repr(error)) from None


class _Source:
    """What was received, in the place of a socket."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _mode: str) -> IO[bytes]:
        import io

        return io.BytesIO(self._received)
