"""Reads a running linkerd2-proxy from outside: its admin port and its listeners. The same for every runtime.

The kernel is asked for the listeners, and nothing connects to them. A connection to 4143 would prove less and
cost more: on a host without connection tracking each one is a warning in the proxy's log, elsewhere it is held for
10 s until the proxy gives up detecting a protocol, and before the first certificate it hangs in the backlog.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator
from http import HTTPStatus
from pathlib import Path

from agent.adapters import http_client
from agent.adapters.http_client import Broken, Request, Server
from agent.core import procfs, proxy, proxy_pages, proxy_sockets
from agent.core.facts import UNKNOWN, Maybe, Process
from agent.core.proxy import ProxySettings, Reading
from agent.core.proxy_pages import REFUSED, UNREADABLE, Page
from agent.core.reasons import Reason
from agent.host import listeners as host_listeners
from agent.ports import Trouble

ADMIN = Server("127.0.0.1", proxy.ADMIN_PORT)
FILTERS = "a filter is a level or target=level, separated by commas: warn,linkerd=info"
ADMIN_WITHIN = 1.0  # seconds for one page


def _headers(server: Server) -> dict[str, str]:
    return {"Host": f"{server.host}:{server.port}"}


EVERYWHERE = {4: "0.0.0.0", 6: "::"}


async def read(settings: ProxySettings) -> Reading:
    """One inspection, within little more than a second. A part that cannot be read is UNKNOWN: after a
    timeout, or a 403 of a policy."""
    settings = dataclasses.replace(settings, slot=settings.named)  # it serves where the rules lead
    server = _server(settings)
    pages = (_page(path, server=server) for path in ("/live", "/ready", "/metrics"))
    live, ready, metrics = await asyncio.gather(*pages)
    inbound, outbound, uids, everywhere = _listening(settings)
    return dataclasses.replace(
        proxy_pages.reading(live, ready, metrics, proxy.controllers(settings)[0]),
        inbound_listening=inbound,
        outbound_listening=outbound,
        listener_uids=uids,
        everywhere=everywhere,
    )


def _server(settings: ProxySettings) -> Server:
    return Server(*proxy.admin_listener(settings))


def _listening(settings: ProxySettings) -> tuple[Maybe[bool], Maybe[bool], Maybe[frozenset[int]], bool]:
    """Whether there are listeners on the proxy's addresses, and their users; also of the admin port, on which a
    reading depends. The last: it has slots and listens at every address, where rules of a slot lead too."""
    owners = listeners()
    inbound, outbound = proxy.inbound_listener(settings), proxy.outbound_listeners(settings)
    slot = settings.slot
    before = inbound if slot is None else (EVERYWHERE[slot.address.version], inbound[1])
    everywhere = inbound not in owners and before in owners
    inbound = before if everywhere else inbound
    uids = {owners[one] for one in (inbound, *outbound, proxy.admin_listener(settings)) if one in owners}
    return inbound in owners, all(one in owners for one in outbound), frozenset(uids), everywhere


def listeners() -> dict[tuple[str, int], int]:
    """Every listening address and port of this network namespace, and whose it is."""
    return {one.place: one.uid for one in host_listeners.listening()}


def carried(settings: ProxySettings, process: Process) -> Maybe[int]:
    """By the user of the process, as whom nothing else runs."""
    try:
        uid = Path(f"/proc/{process.pid}").stat().st_uid
        connections = [one for table in ("tcp", "tcp6") for one in _connections(table, uid)]
    except OSError:
        return UNKNOWN
    return proxy_sockets.carried(connections, settings)


def _connections(table: str, uid: int) -> list[procfs.Connection]:
    path = Path(f"/proc/self/net/{table}")
    if not path.exists():  # a kernel without IPv6
        return []
    with path.open() as lines:
        return procfs.connections(lines, uid)


async def _page(path: str, method: str = "GET", body: bytes = b"", server: Server = ADMIN) -> Page:
    """One page, bounded in time and size. Refused is knowledge (nothing listens), anything else is not."""
    try:
        async with asyncio.timeout(ADMIN_WITHIN):
            return await _asked(Request(method, path, _headers(server), body), server)
    except ConnectionRefusedError:
        return Page(REFUSED)
    except (Broken, OSError):
        return Page(UNREADABLE)


async def _asked(request: Request, server: Server) -> Page:
    """Raises Broken, OSError."""
    connection = await http_client.connect(server)
    try:
        answer = await connection.send(request)
        body = bytearray()
        async for chunk in answer.chunks():
            body += chunk
            if len(body) > proxy_pages.MOST:
                return Page(UNREADABLE)
        return Page(answer.status, body.decode(errors="replace"))
    finally:
        connection.abort()


def admin(port: int) -> Server:
    """Of the proxy of a slot."""
    return ADMIN if port == ADMIN.port else Server(ADMIN.host, port)


async def metrics(server: Server | None = None) -> AsyncGenerator[bytes, None]:
    """Its page of metrics in chunks; none where there is no such page, and an end where it breaks off."""
    with contextlib.suppress(Broken, OSError):
        async with asyncio.timeout(ADMIN_WITHIN):
            connection = await http_client.connect(server := server or ADMIN)
        try:
            async with asyncio.timeout(ADMIN_WITHIN):
                answer = await connection.send(Request("GET", "/metrics", _headers(server)))
            if answer.status == HTTPStatus.OK:
                async for chunk in answer.chunks(ADMIN_WITHIN):
                    yield chunk
        finally:
            connection.abort()


async def ready_status() -> int:
    """The HTTP status of its /ready; REFUSED or UNREADABLE without one."""
    return (await _page("/ready")).status


async def environment() -> dict[str, str | None]:
    """The environment that the running proxy reports. Raises Trouble: not reachable, or forbidden."""
    page = await _page("/env.json")
    if page.status > 0:
        _must_be_taken(page.status, page.text[:200].strip())
    variables = proxy_pages.environment(page)
    if variables is None:
        raise Trouble(Reason.PROXY_UNREADABLE, "its environment cannot be read")
    return variables


async def log_level(wanted: str = "", server: Server | None = None) -> str:
    """The running proxy's log filter; with `wanted`, after it was set, until the proxy ends. Raises Trouble: the
    proxy does not take it (400), cannot be reached, or forbids it."""
    path = "/proxy-log-level"
    if wanted:
        page = await _reached(path, "PUT", wanted.encode(), server)
        said = page.text[:200].strip()
        if page.status == HTTPStatus.BAD_REQUEST:
            raise Trouble(Reason.PROXY_UNREADABLE, f"it refuses {wanted!r}: {said}", remedy=FILTERS)
        _must_be_taken(page.status, said)
    page = await _reached(path, server=server)
    _must_be_taken(page.status, page.text.strip()[:200])
    return page.text.strip()


async def _reached(path: str, method: str = "GET", body: bytes = b"", server: Server | None = None) -> Page:
    page = await _page(path, method, body, server or ADMIN)
    if page.status in (REFUSED, UNREADABLE):
        raise Trouble(Reason.PROXY_UNREADABLE, "its admin port cannot be reached")
    return page


def _must_be_taken(status: int, said: str) -> None:
    if not 200 <= status < 300:
        raise Trouble(Reason.PROXY_UNREADABLE, f"it answers {status}: {said or 'nothing more'}")
