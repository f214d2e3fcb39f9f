"""The stand-in's admin port: /live, /ready, /metrics, /env.json, /proxy-log-level, /shutdown over plain HTTP."""

import asyncio
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from agent.sandbox.proxy.metrics import Metrics
from agent.sandbox.proxy.settings import Settings

_DIRECTIVE = re.compile(r"(?:[\w:-]+=)?(?:off|error|warn|info|debug|trace)", re.IGNORECASE)
HEAD_WITHIN = 5.0  # seconds for a request's head

# With any other the real proxy forbids every page, even to loopback, until a control plane answers it.
_OPEN_POLICIES = {"all-unauthenticated", "audit"}


@dataclass(frozen=True)
class Answer:
    status: HTTPStatus
    body: str
    kind: str = "text/plain"


class Admin:
    """`ready`: whether `/ready` says so. `shut_down`: called for `POST /shutdown`, where that is allowed."""

    def __init__(
        self, settings: Settings, metrics: Metrics, ready: Callable[[], bool], shut_down: Callable[[], None]
    ) -> None:
        self._settings, self._metrics = settings, metrics
        self._ready, self._shut_down = ready, shut_down
        self._filter = os.environ.get("LINKERD2_PROXY_LOG", "warn,linkerd=info,hickory=error")

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request. As in the proxy, a connection to this port is an inbound one in the metrics."""
        tls = 'tls="no_identity",no_tls_reason="no_tls_from_remote"'
        with self._metrics.connection("inbound", "src", self._settings.admin, tls):
            try:
                async with asyncio.timeout(HEAD_WITHIN):
                    head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.decode("latin-1").split(" ", 2)
                body = await reader.readexactly(_length(head.decode("latin-1")))
                writer.write(_encode(self._answer(method, target, body.decode(errors="replace"))))
                await writer.drain()
            except (OSError, ValueError, EOFError, TimeoutError, asyncio.LimitOverrunError):
                writer.transport.abort()  # no request, or the client has closed
            finally:
                writer.close()

    def _answer(self, method: str, target: str, body: str) -> Answer:
        url = urlsplit(target)
        if self._settings.inbound_policy not in _OPEN_POLICIES:
            return Answer(HTTPStatus.FORBIDDEN, "")
        match url.path:
            case "/live":
                return Answer(HTTPStatus.OK, "live\n")
            case "/ready" if self._ready():
                return Answer(HTTPStatus.OK, "ready\n")
            case "/ready":
                return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "not ready\n")
            case "/metrics":
                return Answer(HTTPStatus.OK, self._metrics.text())
            case "/env.json":
                return Answer(HTTPStatus.OK, _environment(url.query), "application/json")
            case "/proxy-log-level":
                return self._log_level(method, body)
            case "/shutdown":
                return self._shutdown(method)
        return Answer(HTTPStatus.NOT_FOUND, "")

    def _log_level(self, method: str, body: str) -> Answer:
        if method == "GET":
            return Answer(HTTPStatus.OK, self._filter)
        if method != "PUT":
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, "")
        if not all(_DIRECTIVE.fullmatch(one) for one in body.split(",")):
            return Answer(HTTPStatus.BAD_REQUEST, "invalid filter directive")
        self._filter = body
        return Answer(HTTPStatus.NO_CONTENT, "")

    def _shutdown(self, method: str) -> Answer:
        if method != "POST":
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, "")
        if not self._settings.shutdown_endpoint:
            return Answer(HTTPStatus.NOT_FOUND, "shutdown endpoint is not enabled\n")
        self._shut_down()
        return Answer(HTTPStatus.OK, "shutdown\n")


def _length(head: str) -> int:
    """Of the request's body, bounded. Raises ValueError."""
    match = re.search(r"^content-length: *(\d{1,4})\r$", head, re.IGNORECASE | re.MULTILINE)
    return int(match[1]) if match else 0


def _environment(query: str) -> str:
    names = query.split("&") if query else list(os.environ)
    return json.dumps({name: os.environ.get(name) for name in names})


def _encode(answer: Answer) -> bytes:
    body = answer.body.encode()
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\ncontent-type: {answer.kind}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
