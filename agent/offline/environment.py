"""The proxy's environment: of its next start, and of the running proxy."""

import http.client
import json
from collections.abc import Mapping

from agent.core import proxy
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.proxy import launch

_WITHIN = 2.0  # seconds
_MOST = 1 << 20  # bytes


class Unavailable(Exception):
    """The environment is unknown: the cause."""


def planned(prefix: str) -> Mapping[str, str]:
    """By the same function as the launcher's. Raises Unavailable."""
    try:
        return launch.plan(Host.below(prefix).prefix).environment
    except (Refusal, proxy.Refused) as error:
        raise Unavailable(str(error)) from None
    except KeyError:
        raise Unavailable("proxy.user is not a user of this host") from None
    except OSError as error:
        raise Unavailable(f"{error.filename}: {error.strerror}") from None


def running() -> Mapping[str, str]:
    """As the proxy reports it at its admin port. Raises Unavailable."""
    connection = http.client.HTTPConnection(*proxy.ADMIN_LISTENER, timeout=_WITHIN)
    try:
        connection.request("GET", "/env.json")
        answer = connection.getresponse()
        if answer.status != 200:
            raise Unavailable(f"the proxy answers {answer.status} to /env.json")
        return {str(name): str(value) for name, value in json.loads(answer.read(_MOST)).items()}
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        raise Unavailable(f"the proxy's admin port gives no /env.json: {error}") from None
    finally:
        connection.close()


def differences(now: Mapping[str, str], then: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Variable → its value in the running proxy and at the next start, where they differ. Its environment may hold
    other variables, so only Linkerd's count."""
    names = {name for name in now if name.startswith("LINKERD2_PROXY_")} | set(then)
    return {name: (now.get(name), then.get(name)) for name in sorted(names) if now.get(name) != then.get(name)}
