"""docs/openapi.json, from the routes of the agent's sockets."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from agent.adapters.http_server import LONGEST_BODY, Route
from agent.adapters.status_socket import PushSocket, StatusSocket
from agent.core import snapshot
from agent.daemon import metrics
from agent.daemon.context import Context

_REFUSED = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "remedy": {"type": "string"}},
    "required": ["error", "remedy"],
}
_WHY = {400: "not understood", 403: "not permitted", 404: "no such probe", 409: "not possible now"}


def routes() -> Sequence[Route]:
    nothing: Any = None
    status = StatusSocket(Path(), nothing, nothing, nothing, more=metrics.routes(cast(Context, None)))
    return [*status.routes, *PushSocket(Path(), {}, nothing).routes]


def document() -> dict[str, Any]:
    about = (
        "HTTP on the unix sockets /run/fairlead/fairlead.sock and /run/fairlead-push/push.sock. The kernel "
        f"identifies the client. A body has at most {LONGEST_BODY} bytes. Errors have a cause and a remedy."
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes():
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "fairlead", "version": str(snapshot.SCHEMA), "description": about},
        "paths": paths,
    }


def _operation(route: Route) -> dict[str, Any]:
    said = route.described
    assert said is not None, f"{route.path} is not described"
    answer = {"text/plain": {"schema": {"type": "string"}}}
    if said.answer is not None:
        answer = {"application/json": {"schema": dict(said.answer)}}
    operation: dict[str, Any] = {
        "summary": said.summary,
        "description": f"May ask: {said.who}.",
        "parameters": list(_parameters(route)),
        "responses": {
            "200": {"description": "done", "content": answer},
            **{str(code): _refusal(code) for code in said.refusals},
        },
    }
    if said.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": dict(said.body)}},
        }
    return operation


def _parameters(route: Route) -> Iterator[dict[str, Any]]:
    assert route.described is not None
    if route.path.endswith("{name}"):
        schema: dict[str, Any] = (
            {"enum": list(route.described.names)} if route.described.names else {"type": "string"}
        )
        yield {"name": "name", "in": "path", "required": True, "schema": schema}
    for name, asked in route.described.query.items():
        yield {"name": name, "in": "query", "schema": dict(asked)}


def _refusal(code: int) -> dict[str, Any]:
    return {"description": _WHY[code], "content": {"application/json": {"schema": _REFUSED}}}


def page() -> str:
    return json.dumps(document(), indent=2) + "\n"
