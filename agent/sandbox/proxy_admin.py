"""The stand-in's admin port: /live, /ready, /metrics, /env.json and /shutdown over plain HTTP."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from agent.sandbox.proxy_metrics import Metrics
from agent.sandbox.proxy_settings import Settings

HEAD_WITHIN = 5.0  # seconds for a request's head

# With any other the real proxy forbids every page, even to loopback, until a control plane has told it more.
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

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request. Like the proxy's own, a connection to this port is an inbound one in the metrics."""
        tls = 'tls="no_identity",no_tls_reason="no_tls_from_remote"'
        with self._metrics.connection("inbound", "src", self._settings.admin, tls):
            try:
                async with asyncio.timeout(HEAD_WITHIN):
                    head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.decode("latin-1").split(" ", 2)
                writer.write(_encode(self._answer(method, target)))
                await writer.drain()
            except (OSError, ValueError, EOFError, TimeoutError, asyncio.LimitOverrunError):
                writer.transport.abort()  # no request, or nobody who waits for its answer
            finally:
                writer.close()

    def _answer(self, method: str, target: str) -> Answer:
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
            case "/shutdown":
                return self._shutdown(method)
        return Answer(HTTPStatus.NOT_FOUND, "")

    def _shutdown(self, method: str) -> Answer:
        if method != "POST":
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, "")
        if not self._settings.shutdown_endpoint:
            return Answer(HTTPStatus.NOT_FOUND, "shutdown endpoint is not enabled\n")
        self._shut_down()
        return Answer(HTTPStatus.OK, "shutdown\n")


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
