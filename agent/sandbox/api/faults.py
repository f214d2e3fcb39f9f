"""Fault scenarios of an API server: which requests fail, and how."""

import asyncio
import contextlib
import enum
import socket
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from agent.sandbox.api.errors import ApiError
from agent.sandbox.api.schema import Json

_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


@dataclass(frozen=True)
class Answer:
    """A refusal in place of the answer. `retry_after`: the header, seconds or an HTTP date."""

    status: int
    retry_after: str = ""
    message: str = "made to fail"


@dataclass(frozen=True)
class Raw:
    """Any answer at all."""

    text: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Break(enum.Enum):
    HANG = "hang"  # takes the request and never answers
    RESET = "reset"  # the connection is reset
    TRUNCATE = "truncate"  # the answer ends half-way, and the connection with it


@dataclass
class Fault:
    """What happens to the next `times` requests that have this method ("": any) and this text in the path."""

    what: Answer | Raw | Break
    times: int = 1
    method: str = ""
    path: str = ""

    def strikes(self, request: web.BaseRequest) -> bool:
        return self.times > 0 and self.method in ("", request.method) and self.path in request.path


@dataclass(frozen=True)
class Seen:
    """One request as it came. `body`: parsed where it is JSON, else text."""

    method: str
    path: str
    query: Json
    content_type: str
    body: object
    user: str


@dataclass
class Faults:
    """Pending faults, and requests that hang; `release` ends those."""

    waiting: list[Fault] = field(default_factory=list)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, what: Answer | Raw | Break, times: int = 1, *, method: str = "", path: str = "") -> None:
        self.waiting.append(Fault(what, times, method, path))

    def clear(self) -> None:
        self.waiting.clear()
        self.release()

    def release(self) -> None:
        """Release every request that hangs: its connection is closed."""
        self._released.set()
        self._released = asyncio.Event()

    async def strike(self, request: web.Request) -> web.StreamResponse | None:
        """What goes out instead of the answer, or None."""
        fault = next((f for f in self.waiting if f.strikes(request)), None)
        if fault is None:
            return None
        fault.times -= 1
        match fault.what:
            case Answer() as answer:
                return _refusal(answer)
            case Raw(text, status, headers):
                return web.Response(text=text, status=status, headers=headers)
            case Break.HANG:
                await self._released.wait()
                return _cut(request)
            case Break.RESET:
                return _cut(request)
            case Break.TRUNCATE:
                return await _truncated(request)


def log(size: int = 10_000) -> deque[Seen]:
    return deque(maxlen=size)


def _refusal(answer: Answer) -> web.Response:
    headers = {"Retry-After": answer.retry_after} if answer.retry_after else {}
    body = ApiError(answer.status, _REASONS.get(answer.status, "Unknown"), answer.message).body
    return web.json_response(body, status=answer.status, headers=headers)


def _cut(request: web.Request) -> web.Response:
    """Reset the connection: to close it with a linger time of zero sends RST instead of FIN."""
    if request.transport is not None:
        sock = request.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # the client may have closed first
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def _truncated(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "4096"})
    await response.prepare(request)
    await response.write(b'{"kind": "ExternalWorkl')
    if request.transport is not None:
        request.transport.close()
    return response
