"""A proxy between a watcher and the API server. It ends TLS, so a test sees each request before the server."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from agent.sandbox.identity.ca import Authority
from tests.watcher.watching import kubeconfig

if TYPE_CHECKING:
    from tests.lab.realparts import ApiServer

# Of one connection alone, or wrong once the answer has been read.
HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Asked:
    """`at`: when it came, on the monotonic clock."""

    method: str
    path: str
    at: float

    def marks(self, host: str) -> bool:
        return self.method == "PATCH" and self.path.endswith(f"/externalworkloads/{host}/status")


@dataclass(frozen=True)
class Refusal:
    """In place of the server's answer."""

    status: int
    retry_after: int


class Dropped(Exception):
    """Raised by a rule: the connection is closed without an answer."""


class Between:
    """`before`: called with each request, in a thread of its own, where it may wait, refuse or drop it. `after`:
    the same once the server has answered, before the client hears of it. `asked`: all requests that came."""

    def __init__(self, server: ApiServer) -> None:
        self.server, self.url, self.config = server, "", Path()
        self.before: Callable[[Asked], Refusal | None] = lambda _: None
        self.after: Callable[[Asked], None] = lambda _: None
        self.asked: list[Asked] = []


@contextmanager
def between(server: ApiServer, folder: Path, token: str) -> Iterator[Between]:
    """`config`: a kubeconfig that leads through it."""
    made = Between(server)
    authority = Authority("between.example")
    for name, pem in zip(("server.crt", "server.key"), authority.tls_server(["127.0.0.1"]), strict=True):
        (folder / name).write_text(pem)
    (folder / "ca.crt").write_text(authority.pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.crt", folder / "server.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(made)) as listening:
        listening.socket = tls.wrap_socket(listening.socket, server_side=True)
        made.url = f"https://127.0.0.1:{listening.server_port}"
        made.config = kubeconfig(server, folder / "between.config", token)
        text = made.config.read_text().replace(server.url, made.url)
        made.config.write_text(text.replace(str(server.ca_file), str(folder / "ca.crt")))
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            listening.shutdown()
            thread.join()


def _handler(made: Between) -> type[BaseHTTPRequestHandler]:
    trust = ssl.create_default_context(cafile=str(made.server.ca_file))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            asked = Asked(self.command, self.path.partition("?")[0], time.monotonic())
            made.asked.append(asked)
            self.close_connection = True
            with contextlib.suppress(Dropped, ConnectionError, ssl.SSLError):  # the client may be gone by now
                if (refusal := made.before(asked)) is not None:
                    self._answer(refusal.status, {"Retry-After": str(refusal.retry_after)}, b"{}")
                    return
                answer, content = self._forward(body)
                made.after(asked)
                kept = {key: value for key, value in answer.getheaders() if key.lower() not in HOP}
                self._answer(answer.status, kept, content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

        def _forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
            headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP}
            connection = http.client.HTTPSConnection("127.0.0.1", made.server.port, timeout=30, context=trust)
            with contextlib.closing(connection):
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                return answer, answer.read()

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content)), "Connection": "close"}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """`asked` has it."""

    return Handler
