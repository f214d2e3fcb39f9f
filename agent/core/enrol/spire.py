"""SPIRE's registration entries of one host: for the agent, the proxy and the drain at shutdown."""

import enum
import shlex
from collections.abc import Iterator
from typing import Any

from agent.core import spiffe
from agent.core.enrol.request import Host
from agent.core.late import dataclass


class By(enum.Enum):
    """How SPIRE recognises the processes."""

    USER = "user"
    UNIT = "unit"


@dataclass(frozen=True)
class Entry:
    parent: str
    identity: str
    selector: str  # TYPE:VALUE

    @property
    def command(self) -> str:
        words = ("-parentID", self.parent, "-spiffeID", self.identity, "-selector", self.selector)
        return shlex.join(("spire-server", "entry", "create", *words))

    @property
    def json(self) -> dict[str, Any]:
        """As `spire-server entry create -data` reads it."""
        kind, _, value = self.selector.partition(":")
        selectors = [{"type": kind, "value": value}]
        return {"parent_id": self.parent, "spiffe_id": self.identity, "selectors": selectors}


_AGENT, _PROXY = (
    ("unix:user:fairlead", "systemd:id:fairlead.service"),
    (
        "unix:user:fairlead-proxy",
        "systemd:id:fairlead-proxy.service",
    ),
)
_DRAIN = "systemd:id:fairlead-drain.service"


def entries(host: Host, parent: str, by: By) -> Iterator[Entry]:
    """The workload's identity for agent and proxy. The ID at the API server, where the host authenticates with a
    JWT-SVID, for the agent and the drain alone, which are one user and two units."""
    at = 0 if by is By.USER else 1
    yield Entry(parent, host.identity, _AGENT[at])
    yield Entry(parent, host.identity, _PROXY[at])
    if not host.account:
        yield Entry(parent, host.user, _AGENT[at])
        if by is By.UNIT:
            yield Entry(parent, host.user, _DRAIN)


def usual_parent(host: Host) -> str:
    """The SPIFFE ID of the host's SPIRE agent, as docs/spire.md names it."""
    return f"{spiffe.SCHEME}{spiffe.parse(host.identity).trust_domain}/host/{host.name}"
