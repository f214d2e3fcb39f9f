"""The pages of the proxy's admin port: what they say, once they have been fetched.

Law: pure. The agent and the privileged helper fetch them in their own ways and read them here. A page that cannot
be fetched is not a fault; its part of the reading is UNKNOWN.
"""

import json
import re

from agent.core import control_plane, numbers
from agent.core.facts import UNKNOWN, Maybe
from agent.core.late import dataclass
from agent.core.proxy import Reading
from agent.core.slots import ADMIN_PORTS

MOST = 8 << 20  # bytes of a page; a proxy with many peers has metrics of megabytes
REFUSED, UNREADABLE = 0, -1  # in the place of an HTTP status: nothing listens; no answer, in time or size


@dataclass(frozen=True)
class Page:
    status: int
    text: str = ""


def reading(live: Page, ready: Page, metrics: Page, policy: str) -> Reading:
    """Without its listeners. `policy`: HOST:PORT of the policy controller."""
    whole = metrics.status == 200
    expires, in_flight = read_metrics(metrics.text) if whole else (UNKNOWN, UNKNOWN)
    return Reading(
        live={200: True, REFUSED: False}.get(live.status, UNKNOWN),
        ready={200: True, 503: False}.get(ready.status, UNKNOWN),
        certificate_expires=expires,
        in_flight=in_flight,
        control=control_plane.read_metrics(metrics.text, policy) if whole else UNKNOWN,
    )


def environment(page: Page) -> dict[str, str | None] | None:
    """Of `/env.json`; None: it cannot be read."""
    try:
        variables = json.loads(page.text) if page.status == 200 else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(variables, dict):
        return None
    return {name: value if isinstance(value, str) else None for name, value in variables.items()}


_EXPIRES = re.compile(
    # Since 2.227 with the first prefix, from 2.220 to 2.226 without it.
    r"^(?:control_)?identity_cert_expiration_timestamp_seconds(?:\{[^}]*\})? (\S+)",
    re.MULTILINE,
)
_INBOUND = re.compile(
    r'^tcp_open_connections\{direction="inbound",peer="src",target_addr="[^"]*:(\d{1,5})"[^}]*\} (\d{1,18})\b',
    re.MULTILINE,
)


def read_metrics(text: str) -> tuple[Maybe[float], Maybe[int]]:
    """When the certificate expires, and how many inbound connections are open, from `/metrics`.

    Connections to the admin port count as inbound ones with the proxy, the reader's own among them; they
    are left out. Idle series vanish, so none at all means 0, if the text is whole (it ends with # EOF).
    """
    found = _EXPIRES.search(text)
    moment = numbers.moment(found[1]) if found else None
    expires: Maybe[float] = UNKNOWN if moment is None else moment
    if not text.rstrip().endswith("# EOF"):
        return expires, UNKNOWN
    open_now = sum(int(count) for port, count in _INBOUND.findall(text) if int(port) not in ADMIN_PORTS)
    return expires, open_now
