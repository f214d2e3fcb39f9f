"""Whether the proxy is proved ready, by its admin port and the owners of its listening ports; the agent uses the
same rules.

Law: a part that cannot be read (a timeout, a 403) is not a fault. Then readiness is unknown, and the caller keeps
what is live.
"""

import json
import time
from typing import Final

from agent.core import control_plane, opaque, proxy
from agent.core.facts import UNKNOWN, Maybe, ProxyState
from agent.core.redirect import RedirectSpec
from agent.privileged import Refusal
from agent.privileged.system import listeners

_HOST, _PORT = proxy.ADMIN_LISTENER
_WITHIN: Final = 0.7  # seconds for each of three pages; all of them below the privileged helper's own limit
_MOST: Final = 8 << 20  # bytes of a page
_REFUSED, _UNREADABLE = 0, -1  # in the place of an HTTP status


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
    status, text = _page("/env.json")
    try:
        environment = json.loads(text) if status == 200 else None
    except ValueError:
        environment = None
    if not isinstance(environment, dict):
        return UNKNOWN
    return opaque.ranges(str(environment.get(proxy.PREFIX + "INBOUND_PORTS", "")), {})


def _reading(spec: RedirectSpec, owners: listeners.Owners, policy: str) -> proxy.Reading:
    """The admin port's owner counts as well: everything else is read from that port."""
    ports = (spec.inbound_listener, spec.outbound_listener, _PORT)
    (live, _), (ready, _), (metrics, text) = (_page(path) for path in ("/live", "/ready", "/metrics"))
    return proxy.Reading(
        live={200: True, _REFUSED: False}.get(live, UNKNOWN),
        ready={200: True, 503: False}.get(ready, UNKNOWN),
        certificate_expires=proxy.read_metrics(text)[0] if metrics == 200 else UNKNOWN,
        inbound_listening=True,
        outbound_listening=True,
        control=control_plane.read_metrics(text, policy) if metrics == 200 else UNKNOWN,
        listener_uids=frozenset(uid for port in ports for uid in owners.get(port, ())),
    )


def _page(path: str) -> tuple[int, str]:
    """(status, text)"""
    import http.client  # a tenth of what the failure policy loads, which waits for no page

    connection = http.client.HTTPConnection(_HOST, _PORT, timeout=_WITHIN)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(_MOST + 1)
    except ConnectionRefusedError:
        return _REFUSED, ""
    except (OSError, http.client.HTTPException):
        return _UNREADABLE, ""
    finally:
        connection.close()
    return (_UNREADABLE, "") if len(body) > _MOST else (answer.status, body.decode(errors="replace"))
