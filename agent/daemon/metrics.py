"""The pages of metrics: the agent's own, and with the proxy's behind it. On the status socket, and at
`metrics.listen`."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from agent import __version__
from agent.adapters import exposition, http_client, proxy_reading, socket_api
from agent.adapters.http_server import Request, Response, Route, Server
from agent.config import derived
from agent.core import metrics, slots
from agent.core.facts import UNKNOWN, Maybe, ProxyFact
from agent.core.proxy_metrics import Passing
from agent.core.reasons import Fault, Reason
from agent.core.slots import Slot
from agent.daemon.context import Context

AGAIN: Final = 30.0  # seconds to the next try to listen
_BACKLOG: Final = 16
_COMPLETE: Final = """\
# HELP fairlead_proxy_page_complete 1 where the whole page of each proxy is above, 0 where it is cut off or absent
# TYPE fairlead_proxy_page_complete gauge
fairlead_proxy_page_complete {}
# EOF
"""


def routes(it: Context) -> list[Route]:
    async def own(request: Request) -> Response:
        kind, text = await exposition.page(_families(it), request.accept)
        return Response(text, kind=kind)

    async def both(request: Request) -> Response:
        return Response(with_the_proxys(it), kind=exposition.PLAIN)

    return [
        Route("GET", "/metrics", own, socket_api.METRICS),
        Route("GET", "/metrics/all", both, socket_api.METRICS_ALL),
    ]


def _families(it: Context) -> list[metrics.Family]:
    board = it.board
    return metrics.families(
        metrics.Seen(
            it.spec,
            board.phase.value,
            board.facts.value,
            board.goals.value,
            board.attempts.tallies,
            asyncio.get_running_loop().time(),
            time.time(),
            __version__,
            derived.proxy_version(it.config, str(it.host.prefix)),
            it.config.api.lease_period,
        )
    )


async def with_the_proxys(it: Context) -> AsyncGenerator[bytes, None]:
    yield (await exposition.page(_families(it)))[1]
    complete, said = True, False
    for slot, server in _proxies(it):
        passing = Passing(slot=slot, named=not said)
        async with contextlib.aclosing(proxy_reading.metrics(server)) as chunks:
            async for chunk in chunks:
                yield passing.chunk(chunk)
                if passing.full:
                    break
        yield passing.end()
        complete, said = complete and passing.complete, said or passing.begun
    yield _COMPLETE.format(int(complete)).encode()


def _proxies(it: Context) -> Sequence[tuple[str, http_client.Server]]:
    """The label and the admin port of each proxy: where there are slots, first the one that the redirect names,
    then the other, while it runs."""
    facts = it.board.facts.value
    if not it.spec.slots:
        return [("", proxy_reading.ADMIN)]
    places = {slot: proxy_reading.admin(place.admin_port) for slot, place in slots.places().items()}
    order = sorted(Slot, key=lambda slot: slot is not facts.active)
    return [(slot.value, places[slot]) for slot in order if slot is facts.active or _runs(facts.of(slot))]


def _runs(proxy: Maybe[ProxyFact]) -> bool:
    return proxy is not UNKNOWN and proxy.process is not None


class Listening:
    """At `metrics.listen`, if there is one; tried again while it cannot be had. `publish`: why not, or None."""

    def __init__(self, it: Context, publish: Callable[[Fault | None], None]) -> None:
        self._where, self._routes, self._publish = it.config.metrics.listen, routes(it), publish

    async def run(self) -> None:
        if not self._where:
            self._publish(None)
            return
        while True:
            try:
                listener = _listen(self._where)
            except OSError as error:
                self._publish(Fault(Reason.METRICS_UNSERVED, f"{self._where}: {error.strerror or error}"))
                await asyncio.sleep(AGAIN)
                continue
            async with Server(self._routes).serving(listener, _BACKLOG):
                self._publish(None)
                await asyncio.Event().wait()


def _listen(where: str) -> socket.socket:
    """Raises OSError."""
    host, _, port = where.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ":" in host:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, int(port)))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
