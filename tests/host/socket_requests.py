"""Requests of every kind to the agent's sockets, as this user: made and judged by schemathesis from
docs/openapi.json, and then sent again and again.

python -m tests.host.socket_requests STATUS_SOCKET PUSH_SOCKET PROBE CASES REQUESTS prints, as JSON, how often the
agent gave each status; any other answer than the document allows ends it with an error."""

import contextlib
import itertools
import json
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from requests.adapters import HTTPAdapter
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi import checks
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection as PooledConnection

DOCUMENT = Path(__file__).parents[2] / "docs/openapi.json"
WITHIN = 20.0  # seconds for an answer: more is a hang
PUSHES = "/v1/probes/{name}"
HERE = "http://localhost"
CHECKS: list[CheckFunction] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


class _Connection(PooledConnection):
    path = ""

    def _new_conn(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(WITHIN)
        connection.connect(self.path)
        return connection


class _Unix(HTTPAdapter):
    """Every request goes to the unix socket at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._pool = HTTPConnectionPool("localhost")
        self._pool.ConnectionCls = type("_To", (_Connection,), {"path": path})

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return self._pool


@dataclass(frozen=True)
class Sent:
    """`changes`: it may have changed something, so it is not repeated."""

    socket: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None
    status: int
    changes: bool


def document(probe: str) -> dict[str, Any]:
    """Names of probes are any text: half of the pushes are for the one that there is."""
    found: dict[str, Any] = json.loads(DOCUMENT.read_text())
    (name,) = found["paths"][PUSHES]["post"]["parameters"]
    name["schema"] = {"anyOf": [{"const": probe}, {"type": "string"}]}
    return found


def judged(sockets: dict[bool, str], probe: str, cases: int) -> list[Sent]:
    """`sockets`: that of pushes by True, the other by False."""
    sent: list[Sent] = []
    sessions = {pushes: requests.Session() for pushes in sockets}
    for pushes, session in sessions.items():
        session.mount("http://", _Unix(sockets[pushes]))
        session.headers.clear()

    def one(case: "Case[Any]") -> None:
        if "after" in (case.query or {}):
            case.query["wait"] = "0.01"  # a wait of a minute is an answer too, and takes one
        pushes = case.path == PUSHES
        answer = case.call(base_url=HERE, session=sessions[pushes], timeout=WITHIN)
        case.validate_response(answer, checks=CHECKS)
        asked = answer.request
        assert asked.method and asked.url
        body = asked.body.encode() if isinstance(asked.body, str) else asked.body
        assert body is None or isinstance(body, bytes)
        target, headers = asked.url.removeprefix(HERE), {name: _text(said) for name, said in asked.headers.items()}
        changes = case.method == "POST" and not pushes and answer.status_code in (200, 409)
        sent.append(Sent(sockets[pushes], asked.method, target, headers, body, answer.status_code, changes))

    schema = schemathesis.openapi.from_dict(document(probe))
    for mode, found in itertools.product(GenerationMode, schema.get_all_operations()):
        strategy = found.ok().as_strategy(generation_mode=mode)
        bounds = settings(
            max_examples=cases,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        with contextlib.suppress(Unsatisfiable):  # what has neither parameters nor a body cannot be wrong
            bounds(given(case=strategy)(one))()
    for session in sessions.values():
        session.close()
    return sent


def _text(said: str | bytes) -> str:
    return said if isinstance(said, str) else said.decode("latin-1")


def repeated(sent: list[Sent], times: int) -> Iterator[int]:
    """On few connections, one after the other. The same request has the same answer, unless what it asks for has
    changed; then it has one that is not an error of the server."""
    connections = {path: HTTPConnection("localhost", timeout=WITHIN) for path in {one.socket for one in sent}}
    again = itertools.cycle([one for one in sent if not one.changes])
    for one in itertools.islice(again, times):
        connection = connections[one.socket]
        if connection.sock is None:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(WITHIN)
            connection.sock.connect(one.socket)
        connection.request(one.method, one.target, one.body, one.headers)
        with connection.getresponse() as answer:
            answer.read()
        assert answer.status == one.status, (one, answer.status)
        yield answer.status
    for connection in connections.values():
        connection.close()


def main(status: str, pushes: str, probe: str, cases: str, most: str) -> None:
    sent = judged({False: status, True: pushes}, probe, int(cases))
    found = Counter(one.status for one in sent)
    found.update(repeated(sent, int(most) - len(sent)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
