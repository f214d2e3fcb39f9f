"""The proxy's environment: of its next start, and of the running proxy."""

import http.client
from collections.abc import Mapping

from agent.core import proxy, proxy_pages, restart_pending
from agent.core.slots import Slot, places
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.proxy import launch

_WITHIN = 2.0  # seconds
_MOST = 1 << 20  # bytes


class Unavailable(Exception):
    """The environment is unknown: the cause."""


def planned(prefix: str, slot: Slot = Slot.MAIN) -> Mapping[str, str]:
    """By the same function as the launcher's. Raises Unavailable."""
    try:
        return launch.plan(Host.below(prefix).prefix, slot=slot).environment
    except (Refusal, proxy.Refused) as error:
        raise Unavailable(str(error)) from None
    except KeyError:
        raise Unavailable("proxy.user is not a user of this host") from None
    except OSError as error:
        raise Unavailable(f"{error.filename}: {error.strerror}") from None


def admin(slot: Slot) -> proxy.Listener:
    """Where the proxy of that slot answers."""
    if slot is Slot.MAIN:
        return proxy.ADMIN_LISTENER
    return proxy.ADMIN_LISTENER[0], places()[slot].admin_port


def running(slot: Slot = Slot.MAIN) -> Mapping[str, str]:
    """As the proxy in that slot reports it at its admin port. Raises Unavailable."""
    connection = http.client.HTTPConnection(*admin(slot), timeout=_WITHIN)
    try:
        connection.request("GET", "/env.json")
        answer = connection.getresponse()
        if answer.status != 200:
            raise Unavailable(f"the proxy answers {answer.status} to /env.json")
        page = proxy_pages.Page(answer.status, answer.read(_MOST).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the proxy's admin port gives no /env.json: {error}") from None
    finally:
        connection.close()
    variables = proxy_pages.environment(page)
    if variables is None:
        raise Unavailable("the proxy's /env.json cannot be read")
    return {name: value for name, value in variables.items() if value is not None}


def differences(now: Mapping[str, str], then: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Variable → its value in the running proxy and at the next start, where a restart would change something."""
    return {name: (now.get(name), then.get(name)) for name in restart_pending.every(now, then)}
