"""Whether the proxy is proved ready, by its admin port and the owners of its listening ports; the agent uses the
same rules.

Law: a part that cannot be read (a timeout, a 403) is not a fault. Then readiness is unknown, and the caller keeps
what is live. The proxy may be hostile: its pages are read before a lock is taken, and all of them together within
one time and size limit, however they come.
"""

import io
import socket
import time
from ipaddress import ip_address
from typing import Final

from agent.core import control_plane, opaque, proxy, proxy_pages
from agent.core.facts import UNKNOWN, Maybe, ProxyState
from agent.core.late import dataclass, replace
from agent.core.proxy_pages import REFUSED, UNREADABLE, Page
from agent.privileged import Refusal
from agent.privileged.system import listeners
from agent.privileged.system.listeners import Redirected

_HOST, _MAIN = proxy.ADMIN_LISTENER
_WITHIN: Final = 1.0  # seconds for all three pages; below the privileged helper's own limit
_REQUEST: Final = f"GET {{}} HTTP/1.1\r\nHost: {_HOST}:{{}}\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Pages:
    """What the admin port `admin` says."""

    live: Page
    ready: Page
    metrics: Page
    admin: int = _MAIN


def ask(admin: int = _MAIN) -> Pages:
    """Not under `files.lock`."""
    deadline = time.monotonic() + _WITHIN
    live, ready, metrics = (_page(path, deadline, admin) for path in ("/live", "/ready", "/metrics"))
    return Pages(live, ready, metrics, admin)


def must_hold(spec: Redirected, pages: Pages, policy: str = "") -> Maybe[bool]:
    """Whether the policy controller (at HOST:PORT `policy`) has answered it. Raises Refusal: it is not ready;
    PROXY_UNREADABLE where that is unknown."""
    owners = listeners.owners()
    listeners.must_be_the_proxys(spec, owners)
    reading = _reading(spec, owners, pages, policy)
    state, fault, _ = proxy.judge(reading, spec.proxy_uid, time.time())
    if state is not ProxyState.READY and fault is not None:
        detail = f"cannot redirect: {fault.entry.text}" + (f" ({fault.detail})" if fault.detail else "")
        raise Refusal(detail, fault.reason)
    return UNKNOWN if reading.control is UNKNOWN else control_plane.answered(reading.control)


def started_with(admin: int = _MAIN) -> Maybe[tuple[opaque.PortRange, ...]]:
    """The ports of INBOUND_PORTS in the environment that the running proxy reports. UNKNOWN: none runs, or it
    cannot be read. Not under `files.lock`."""
    environment = proxy_pages.environment(_page("/env.json", time.monotonic() + _WITHIN, admin))
    if environment is None:
        return UNKNOWN
    return opaque.ranges(environment.get(proxy.PREFIX + "INBOUND_PORTS") or "", {})


def _reading(spec: Redirected, owners: listeners.Owners, pages: Pages, policy: str) -> proxy.Reading:
    """The admin port's owner counts as well: everything else is read from that port."""
    places = (*spec.arrivals, (ip_address(_HOST), pages.admin))
    return replace(
        proxy_pages.reading(pages.live, pages.ready, pages.metrics, policy),
        inbound_listening=True,
        outbound_listening=True,
        listener_uids=frozenset(uid for place in places for uid in listeners.receivers(owners, *place)),
    )


def _page(path: str, deadline: float, admin: int) -> Page:
    import http.client  # a tenth of what the failure policy loads, which waits for no page

    try:
        with socket.create_connection((_HOST, admin), _left(deadline)) as connection:
            connection.sendall(_REQUEST.format(path, admin).encode())
            answer = http.client.HTTPResponse(_Read(_all(connection, deadline)))  # type: ignore[arg-type]  # makefile is all it calls
            answer.begin()
            return Page(answer.status, answer.read().decode(errors="replace"))
    except ConnectionRefusedError:
        return Page(REFUSED)
    except (OSError, http.client.HTTPException):
        return Page(UNREADABLE)


def _all(connection: socket.socket, deadline: float) -> bytes:
    """What comes until it closes. Raises TimeoutError at the deadline, whenever the last byte came, and OSError
    for too much."""
    answer = bytearray()
    while len(answer) <= proxy_pages.MOST:
        connection.settimeout(_left(deadline))
        more = connection.recv(1 << 16)
        if not more:
            return bytes(answer)
        answer += more
    raise OSError("longer than a page may be")


def _left(deadline: float) -> float:
    """Raises TimeoutError: none is left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Read:
    """An answer that has been read, in the place of a socket."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._answer)
