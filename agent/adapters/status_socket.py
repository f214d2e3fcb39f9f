"""The agent's unix sockets: HTTP. On the status socket `GET /v1/status[?after=VERSION[&wait=SECONDS]]`,
`POST /v1/phase`, `POST /v1/orders/NAME`; on the push socket `POST /v1/probes/NAME`.

Every user that may open the status socket (0660, the agent's group) may read. Only root and the agent's user may
change the phase and send orders; the kernel identifies the user (SO_PEERCRED). Every user that may open the push
socket (0660, the group `fairlead-push`) may push a heartbeat, and can do nothing else.
"""

import asyncio
import contextlib
import json
import math
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from agent.adapters.connections import Admission, Connections
from agent.core import numbers
from agent.core.facts import PhaseKind
from agent.host import peer
from agent.ports import Trouble

LONGEST_WAIT = 60.0
LONGEST_BODY = 1 << 16  # bytes
BACKLOG = 128
ASKABLE = {kind.value: kind for kind in PhaseKind}


# What root tells the agent to do: the words of the request, and, where there is more to say than the status, of
# the answer. Raises Trouble.
Order = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any] | None]]


class _Served:
    """Routes on a listener at `path`."""

    def __init__(self, path: Path, routes: Sequence[web.RouteDef]) -> None:
        self._path, self._routes = path, routes

    @contextlib.asynccontextmanager
    async def serving(self, kept: "Listener | None" = None) -> AsyncIterator[None]:
        """`kept`: a listener that stays open afterwards, for whatever serves next; None: one of its own."""
        with contextlib.nullcontext(kept) if kept is not None else listening(self._path) as listener:
            app = web.Application(client_max_size=LONGEST_BODY)
            app.add_routes(self._routes)
            # A client that waits for news must not hold up the end of the agent.
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            handlers, connections = runner.server, Connections()
            assert handlers is not None
            server = await asyncio.get_running_loop().create_server(
                lambda: Admission(connections, handlers()), sock=listener.another(), backlog=BACKLOG
            )
            try:
                yield
            finally:
                server.close()
                await runner.cleanup()


class PushSocket(_Served):
    """`pushes`: each probe that is pushed, and the longest that one push may vouch for; `push(name, ttl)`: takes
    one."""

    def __init__(self, path: Path, pushes: Mapping[str, float], push: Callable[[str, float], None]) -> None:
        super().__init__(path, [web.post("/v1/probes/{name}", self._heartbeat)])
        self._pushes, self._push = pushes, push

    async def _heartbeat(self, request: web.Request) -> web.Response:
        """Body: `{"ttl": SECONDS}`, or `{}` for the longest that the configuration allows."""
        name = request.match_info["name"]
        longest = self._pushes.get(name)
        if longest is None:
            known = ", ".join(self._pushes) or "there is none"
            return _refusal(404, f"no probe {name!r} waits for a push", f"probes of kind push: {known}")
        try:
            ttl = numbers.number((await _body(request)).get("ttl", longest), -math.inf, math.inf)
        except ValueError:
            ttl = None
        if ttl is None:
            return _refusal(400, "the request's ttl is not a number", "give it in seconds")
        if not 0 < ttl <= longest:
            remedy = f"give at most {longest:g} s, or raise the probe's ttl in the configuration"
            return _refusal(400, f"a push cannot vouch for {ttl:g} s", remedy)
        self._push(name, ttl)
        return web.json_response({"probe": name, "ttl": ttl})


async def _body(request: web.Request) -> dict[str, Any]:
    """Raises ValueError: it is no JSON object of at most LONGEST_BODY bytes."""
    try:
        words = json.loads(await request.read())
    except (RecursionError, web.HTTPRequestEntityTooLarge):
        words = None
    if not isinstance(words, dict):
        raise ValueError("no object")
    return words


class StatusSocket(_Served):
    """`snapshot`: the status as JSON-ready value with a "version"; `changed(version, seconds)`: returns when
    the version has moved on, or the time is over; `ask`: sets the phase, raises Trouble."""

    def __init__(
        self,
        path: Path,
        snapshot: Callable[[], dict[str, Any]],
        changed: Callable[[int, float], Awaitable[None]],
        ask: Callable[[PhaseKind], Awaitable[None]],
        orders: Mapping[str, Order] | None = None,
    ) -> None:
        routes = [
            web.get("/v1/status", self._status),
            web.post("/v1/phase", self._phase),
            web.post("/v1/orders/{name}", self._order),
        ]
        super().__init__(path, routes)
        self._orders = orders or {}
        self._snapshot, self._changed, self._ask = snapshot, changed, ask

    async def _status(self, request: web.Request) -> web.Response:
        after = numbers.whole(request.query.get("after", ""))
        if after is not None:
            await self._changed(after, _seconds(request.query.get("wait", "")))
        return web.json_response(self._snapshot())

    async def _phase(self, request: web.Request) -> web.Response:
        if _peer_uid(request) not in (0, os.geteuid()):
            return _refusal(403, "only root may change this host's phase", "run it with sudo")
        try:
            phase = ASKABLE[(await _body(request))["phase"]]
        except (ValueError, KeyError, TypeError):
            return _refusal(400, "the request names no phase", "ask for one of: " + ", ".join(ASKABLE))
        try:
            await self._ask(phase)
        except Trouble as trouble:
            return _refusal(503, trouble.detail or trouble.fault.entry.text, trouble.fault.way_out)
        return web.json_response(self._snapshot())

    async def _order(self, request: web.Request) -> web.Response:
        order = self._orders.get(request.match_info["name"])
        if _peer_uid(request) not in (0, os.geteuid()):
            return _refusal(403, "only root may tell the agent what to do", "run it with sudo")
        try:
            words = await _body(request)
        except ValueError:
            order, words = None, {}
        if order is None:
            return _refusal(400, "there is no such order", "command and agent may be of different versions")
        try:
            answer = await order(words)
        except Trouble as trouble:
            return _refusal(503, trouble.detail or trouble.fault.entry.text, trouble.fault.way_out)
        return web.json_response(self._snapshot() if answer is None else answer)


def _seconds(text: str) -> float:
    """How long a client would wait; what is no such number is the longest."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(text)))
    except ValueError:
        return LONGEST_WAIT


class Listener:
    """A listening socket at `path`. Connections that come while nothing serves wait for what serves next."""

    def __init__(self, path: Path) -> None:
        self._path, self._socket = path, _listen(path)

    def another(self) -> socket.socket:
        """Another descriptor of it, which the caller closes. A socket that lost its name is created again."""
        if not self._path.exists():
            self._socket.close()
            self._socket = _listen(self._path)
        return self._socket.dup()

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def listening(path: Path) -> Iterator[Listener]:
    with contextlib.closing(Listener(path)) as listener:
        yield listener


def _listen(path: Path) -> socket.socket:
    """A listener at `path`; the one that a dead agent left is replaced (the caller holds the agent's lock)."""
    path.parent.mkdir(mode=0o700, exist_ok=True)  # on an installed host systemd has made it
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


def _peer_uid(request: web.Request) -> int:
    assert request.transport is not None
    return peer.uid(request.transport.get_extra_info("socket"))


def _refusal(status: int, cause: str, remedy: str) -> web.Response:
    return web.json_response({"error": cause, "remedy": remedy}, status=status)
