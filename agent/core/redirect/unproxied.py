"""The addresses of this host at which peers reach an application without the proxy: only connections to the
workload's own addresses are redirected."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from agent.core.redirect.rules import Address
from agent.core.redirect.spec import Inbound, RedirectSpec

_EVERYWHERE = {"0.0.0.0": frozenset({4}), "::": frozenset({4, 6})}  # "::": of both versions, by default


def unproxied(
    spec: RedirectSpec, listening: Iterable[tuple[str, int]], own: Iterable[Address]
) -> Mapping[int, tuple[str, ...]]:
    """Declared port → those addresses. `listening`: address and port of each listener; `own`: all addresses of the
    host's interfaces."""
    if spec.inbound is Inbound.OFF:
        return {}
    reached: dict[int, set[Address]] = defaultdict(set)
    here = [one for one in own if not one.is_loopback and one not in spec.addresses]
    for at, port in listening:
        if port not in spec.ports:
            continue
        versions = _EVERYWHERE.get(at)
        reached[port] |= {one for one in here if (one.version in versions if versions else one == ip_address(at))}
    return {
        port: tuple(map(str, sorted(found, key=lambda one: (one.version, one))))
        for port, found in sorted(reached.items())
        if found
    }


def words(port: int, addresses: tuple[str, ...], spec: RedirectSpec) -> tuple[str, str]:
    """For people: what is so, and what to do."""
    own = " and ".join(map(str, spec.addresses))
    return (
        f"port {port} is also reached at {', '.join(addresses)}, without the proxy and its policy",
        f"have the application listen on {own} alone, or close these addresses to other hosts",
    )
