"""The agent's unix sockets: HTTP. On the status socket `GET /v1/status[?after=VERSION[&wait=SECONDS]]`,
`POST /v1/phase`, `POST /v1/orders/NAME`; on the push socket `POST /v1/probes/NAME`.

Every user that may open the status socket (0660, the agent's group) may read. Root and the agent's user may change
the phase and send orders, the group of `socket.operators` some of that (`core.socket_rights`); the kernel
identifies the user and its groups (SO_PEERCRED, SO_PEERGROUPS). Every user that may open the push
socket (0660, the group `fairlead-push`) may push a heartbeat, and can do nothing else.
"""

import contextlib
import json
import math
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.adapters import socket_api as api
from agent.adapters.http_server import Request, Response, Route, Server, refusal
from agent.core import numbers
from agent.core.facts import PhaseKind
from agent.core.socket_rights import operator_may_ask, operator_may_order
from agent.ports import Trouble

LONGEST_WAIT = 60.0
BACKLOG = 128
ASKABLE = {kind.value: kind for kind in PhaseKind}


# What root tells the agent to do: the words of the request, and, where there is more to say than the status, of
# the answer. Raises Trouble.
Order = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any] | None]]


def _nobody() -> int | None:
    return None


class _Served:
    """Routes on a listener at `path`."""

    def __init__(self, path: Path, routes: Sequence[Route]) -> None:
        self._path, self.routes = path, routes

    @contextlib.asynccontextmanager
    async def serving(self, kept: "Listener | None" = None) -> AsyncIterator[None]:
        """`kept`: a listener that stays open afterwards, for whatever serves next; None: one of its own."""
        with contextlib.nullcontext(kept) if kept is not None else listening(self._path) as listener:
            async with Server(self.routes).serving(listener.another(), BACKLOG):
                yield


class PushSocket(_Served):
    """`pushes`: each probe that is pushed, and the longest that one push may vouch for; `push(name, ttl)`: takes
    one."""

    def __init__(self, path: Path, pushes: Mapping[str, float], push: Callable[[str, float], None]) -> None:
        super().__init__(path, [Route("POST", "/v1/probes/{name}", self._heartbeat, api.PUSH)])
        self._pushes, self._push = pushes, push

    async def _heartbeat(self, request: Request) -> Response:
        """Body: `{"ttl": SECONDS}`, or `{}` for the longest that the configuration allows."""
        name = request.name
        longest = self._pushes.get(name)
        if longest is None:
            known = ", ".join(self._pushes) or "there is none"
            return refusal(404, f"no probe {name!r} waits for a push", f"probes of kind push: {known}")
        try:
            ttl = numbers.number(_body(request).get("ttl", longest), -math.inf, math.inf)
        except ValueError:
            ttl = None
        if ttl is None:
            return refusal(400, "the request's ttl is not a number", "give it in seconds")
        if not 0 < ttl <= longest:
            remedy = f"give at most {longest:g} s, or raise the probe's ttl in the configuration"
            return refusal(400, f"a push cannot vouch for {ttl:g} s", remedy)
        self._push(name, ttl)
        return Response({"probe": name, "ttl": ttl})


def _body(request: Request) -> dict[str, Any]:
    """Raises ValueError: it is no JSON object, or too long."""
    try:
        words = None if request.body is None else json.loads(request.body)
    except RecursionError:
        words = None
    if not isinstance(words, dict):
        raise ValueError("no object")
    return words


class StatusSocket(_Served):
    """`snapshot`: the status as JSON-ready value with a "version"; `changed(version, seconds)`: returns when
    the version has moved on, or the time is over; `ask`: sets the phase, raises Trouble; `more`: what else
    its readers may read; `operators`: the gid of the group that may do more, None for none."""

    def __init__(
        self,
        path: Path,
        snapshot: Callable[[], dict[str, Any]],
        changed: Callable[[int, float], Awaitable[None]],
        ask: Callable[[PhaseKind], Awaitable[None]],
        orders: Mapping[str, Order] | None = None,
        more: Sequence[Route] = (),
        operators: Callable[[], int | None] = _nobody,
    ) -> None:
        routes = [
            Route("GET", "/v1/status", self._status, api.STATUS),
            Route("POST", "/v1/phase", self._phase, api.PHASE),
            Route("POST", "/v1/orders/{name}", self._order, api.ORDER),
            *more,
        ]
        super().__init__(path, routes)
        self._orders = orders or {}
        self._snapshot, self._changed, self._ask, self._operators = snapshot, changed, ask, operators

    async def _status(self, request: Request) -> Response:
        after = numbers.whole(request.query.get("after", ""))
        if after is not None:
            await self._changed(after, _seconds(request.query.get("wait", "")))
        return Response(self._snapshot())

    async def _phase(self, request: Request) -> Response:
        operates = self._operates(request)
        if not (_is_root(request) or operates):
            return refusal(403, "only root may change this host's phase", "run it with sudo")
        try:
            phase = ASKABLE[_body(request)["phase"]]
        except (ValueError, KeyError, TypeError):
            return refusal(400, "the request names no phase", "ask for one of: " + ", ".join(ASKABLE))
        present = str(self._snapshot().get("phase", ""))
        if not (_is_root(request) or operator_may_ask(phase, present)):
            return refusal(403, "an operator may drain and undrain a member, and no more", "run it with sudo")
        try:
            await self._ask(phase)
        except Trouble as trouble:
            return refusal(409, trouble.detail or trouble.fault.entry.text, trouble.fault.way_out)
        return Response(self._snapshot())

    async def _order(self, request: Request) -> Response:
        order = self._orders.get(request.name)
        operates = self._operates(request)
        if not (_is_root(request) or operates):
            return refusal(403, "only root may tell the agent what to do", "run it with sudo")
        try:
            words = _body(request)
        except ValueError:
            order, words = None, {}
        if not (_is_root(request) or operator_may_order(request.name, words)):
            return refusal(403, "an operator may order a reload, and no more", "run it with sudo")
        if order is None:
            return refusal(400, "there is no such order", "command and agent may be of different versions")
        try:
            answer = await order(words)
        except Trouble as trouble:
            return refusal(409, trouble.detail or trouble.fault.entry.text, trouble.fault.way_out)
        return Response(self._snapshot() if answer is None else answer)

    def _operates(self, request: Request) -> bool:
        return self._operators() in request.groups


def _is_root(request: Request) -> bool:
    return request.uid in (0, os.geteuid())


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
