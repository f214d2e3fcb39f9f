"""Whether the proxy is proved ready, by its admin port and the owners of its listening ports; the agent uses the
same rules.

Law: a part that cannot be read (a timeout, a 403) is not a fault. Then readiness is unknown, and the caller keeps
what is live.
"""

import dataclasses
import time
from typing import Final

from agent.core import control_plane, opaque, proxy, proxy_pages
from agent.core.facts import UNKNOWN, Maybe, ProxyState
from agent.core.proxy_pages import REFUSED, UNREADABLE, Page
from agent.core.redirect import RedirectSpec
from agent.privileged import Refusal
from agent.privileged.system import listeners

_HOST, _PORT = proxy.ADMIN_LISTENER
_WITHIN: Final = 0.7  # seconds for each of three pages; all of them below the privileged helper's own limit


def must_hold(spec: RedirectSpec, policy: str = "") -> Maybe[bool]:
    """Whether the policy controller (at HOST:PORT `policy`) has answered it. Raises Refusal: it is not ready;
    PROXY_UNREADABLE where that is unknown."""
    owners = listeners.owners()
    listeners.must_be_the_proxys(spec, owners)
    reading = _reading(spec, owners, policy)
    state, fault, _ = proxy.judge(reading, spec.proxy_uid, time.time())
    if state is not ProxyState.READY and fault is not None:
        detail = f"cannot redirect: {fault.entry.text}" + (f" ({fault.detail})" if fault.detail else "")
        raise Refusal(detail, fault.reason)
    return UNKNOWN if reading.control is UNKNOWN else control_plane.answered(reading.control)


def started_with() -> Maybe[tuple[opaque.PortRange, ...]]:
    """The ports of INBOUND_PORTS in the environment that the running proxy reports. UNKNOWN: none runs, or it
    cannot be read."""
    environment = proxy_pages.environment(_page("/env.json"))
    if environment is None:
        return UNKNOWN
    return opaque.ranges(environment.get(proxy.PREFIX + "INBOUND_PORTS") or "", {})


def _reading(spec: RedirectSpec, owners: listeners.Owners, policy: str) -> proxy.Reading:
    """The admin port's owner counts as well: everything else is read from that port."""
    ports = (spec.inbound_listener, spec.outbound_listener, _PORT)
    return dataclasses.replace(
        proxy_pages.reading(_page("/live"), _page("/ready"), _page("/metrics"), policy),
        inbound_listening=True,
        outbound_listening=True,
        listener_uids=frozenset(uid for port in ports for uid in owners.get(port, ())),
    )


def _page(path: str) -> Page:
    import http.client  # a tenth of what the failure policy loads, which waits for no page

    connection = http.client.HTTPConnection(_HOST, _PORT, timeout=_WITHIN)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(proxy_pages.MOST + 1)
    except ConnectionRefusedError:
        return Page(REFUSED)
    except (OSError, http.client.HTTPException):
        return Page(UNREADABLE)
    finally:
        connection.close()
    whole = len(body) <= proxy_pages.MOST
    return Page(answer.status, body.decode(errors="replace")) if whole else Page(UNREADABLE)
