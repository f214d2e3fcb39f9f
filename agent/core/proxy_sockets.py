"""The proxy's sockets, as the kernel lists them: what it forwards, and whether another process uses its ports."""

from collections.abc import Iterable, Mapping

from agent.core.late import replace
from agent.core.procfs import CARRIES, Connection
from agent.core.proxy import (
    INBOUND_PORT,
    Listener,
    ProxySettings,
    admin_listener,
    host_port,
    inbound_listener,
    is_address,
    outbound_listeners,
    services,
)
from agent.core.reason import Fault, Reason
from agent.core.slots import ADMIN_PORTS, OUTBOUND_PORTS, Place, places


def carried(connections: Iterable[Connection], settings: ProxySettings) -> int:
    """How many connections the proxy has opened to the application or to destinations of the host's requests. The
    ones that it accepted do not count, nor those to the control plane (known by address, or by port if it has a
    name). While this is 0, no accepted request can get an answer. The proxies of two slots have one user: while
    any connection leads on, it is what this one has accepted that counts.
    """
    accepted = {INBOUND_PORT, *OUTBOUND_PORTS, *ADMIN_PORTS}
    open_ = [c for c in connections if c.state in CARRIES]
    leading = [c for c in open_ if c.local[1] not in accepted]
    count = sum(not _is_control_plane(settings, *c.remote) for c in leading)
    return _accepted(open_, settings.slot) if settings.slot is not None and count else count


def _accepted(connections: Iterable[Connection], slot: Place) -> int:
    """What no other slot has accepted: a proxy from before there were slots listens at every address."""
    others = [place for place in places(slot.network).values() if place != slot]
    elsewhere = {(str(place.address), INBOUND_PORT) for place in others}
    ports = {INBOUND_PORT, *OUTBOUND_PORTS} - {place.outbound_port for place in others}
    return sum(c.local[1] in ports and c.local not in elsewhere for c in connections)


def taken(settings: ProxySettings, listeners: Mapping[Listener, int], uid: int) -> Fault | None:
    """Another user's process listens where the proxy has to. `listeners`: each and whose it is."""
    for mine in (inbound_listener(settings), *outbound_listeners(settings), admin_listener(settings)):
        for theirs, owner in listeners.items():
            if owner != uid and theirs[1] == mine[1] and _overlap(theirs[0], mine[0]):
                return Fault(Reason.PROXY_PORT_TAKEN, f"uid {owner} listens on {host_port(theirs)}")
    return None


def _overlap(one: str, other: str) -> bool:
    """An IPv6 listener on every address takes IPv4 too."""
    everywhere = "::" in (one, other) or ("0.0.0.0" in (one, other) and ":" not in one + other)
    return one == other or everywhere


def _is_control_plane(settings: ProxySettings, address: str, port: int) -> bool:
    if address in settings.addresses and port in settings.ports:
        return False
    asked = services(replace(settings, token_file=""))  # the identity controller is asked in one breath
    return any(number == port and (not is_address(host) or host == address) for host, number in asked)
