"""Judgements about the way from this host to the cluster, and from the cluster to the application."""

from collections.abc import Mapping, Sequence

from agent.core.doctor.check import Outcome, fail, of_fault, ok, unknown, warn
from agent.core.late import dataclass
from agent.core.proxy import Listener
from agent.core.reasons import Fault, Reason

IDENTITY = "identity"


@dataclass(frozen=True)
class Name:
    """Of one controller. `by`: "SRV", "A", "AAAA" or a file; "": it has no address, because of `why`. `elsewhere`:
    programs that read nsswitch.conf find it."""

    by: str
    why: str = ""
    elsewhere: bool = False


def names(seen: Mapping[str, Name]) -> Outcome:
    """By controller: "policy", "destination", in token mode IDENTITY too."""
    for controller, name in seen.items():
        if not name.by:
            return _without_address(controller, name)
    return ok(", ".join(f"{controller} by {name.by}" for controller, name in seen.items()))


def _without_address(controller: str, name: Name) -> Outcome:
    why = name.why
    if name.elsewhere:
        why += "; other programs find it by nsswitch.conf, which the proxy does not read"
    if controller == IDENTITY:
        said = f"the name of the identity controller has no address, so the proxy gets no certificate ({why})"
        fix = "let this host's DNS answer for the cluster's names, or write control_plane.identity"
        return fail(f"{said} [{Reason.CONTROL_PLANE_UNRESOLVED}]", fix)
    return of_fault(Fault(Reason.CONTROL_PLANE_UNRESOLVED, why))


@dataclass(frozen=True)
class ControlPlane:
    """What this host finds of the controllers, each a fault or None. `identity`: in token mode."""

    policy: Fault | None
    destination: Fault | None
    identity: Fault | None = None


def control_plane(seen: ControlPlane) -> Outcome:
    found = [fault for fault in (seen.policy, seen.destination) if fault is not None]
    if found:
        return of_fault(found[0])
    if seen.identity is not None:
        said = f"the identity controller gives the proxy no certificate: {seen.identity.detail}"
        fix = "let this host reach the control plane's pods on TCP 8080: routes, firewalls, policies"
        return fail(f"{said} [{seen.identity.reason}]", fix)
    return ok("the controllers answer, and prove to be Linkerd's")


@dataclass(frozen=True)
class Routes:
    """`ways`: network → "via 10.0.0.1 dev eth0", or "" where there is no route."""

    ways: Mapping[str, str]


def routes(seen: Routes) -> Outcome:
    missing = [network for network, found in seen.ways.items() if not found]
    if missing:
        why = f"no route to {', '.join(missing)}, where the pods are"
        return fail(why, f"ip route add {missing[0]} via NODE, or a route in the network between")
    return ok("; ".join(f"{network} {found}" for network, found in seen.ways.items()))


@dataclass(frozen=True)
class Hello:
    """A TLS hello of `size` bytes to `place`. `detail`: why there is no answer, and not for its size."""

    place: str
    size: int
    answered: bool
    detail: str = ""


def path_mtu(seen: Hello) -> Outcome:
    if seen.answered:
        return ok(f"{seen.place} answers a TLS hello of {seen.size} bytes")
    if seen.detail:
        return unknown(f"{seen.place}: {seen.detail}")
    return fail(
        f"{seen.place} accepts a connection, and does not answer a TLS hello of {seen.size} bytes: "
        "packets of full size are lost on the way, and so is the ICMP message about it",
        "lower the MTU of the route to the pods (ip route change NETWORK via NODE mtu 1400), or let ICMP "
        "type 3 code 4 (IPv6: type 2) pass",
    )


# the application -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Application:
    """`ports`: declared; `addresses`: the workload's own; `listening`: every listener of this host."""

    ports: Sequence[int]
    addresses: Sequence[str]
    listening: Sequence[Listener]  # addresses and ports


def application(seen: Application) -> Outcome:
    """The proxy connects to the workload's address, as clients do."""
    absent: list[str] = []
    for port in seen.ports:
        places = sorted({address for address, number in seen.listening if number == port})
        missed = [address for address in seen.addresses if not _takes(places, address)]
        if not places:
            return fail(f"no process listens on port {port}", "start the application, or correct workload.ports")
        if len(missed) == len(seen.addresses):
            return fail(
                f"the application listens on {', '.join(places)} alone, and not on {missed[0]}, port {port}",
                f"have the application listen on {missed[0]}, or on every address",
            )
        absent += [f"{address} port {port}" for address in missed]
    if absent:
        why = f"the application does not listen on {', '.join(absent)}"
        return warn(why, "have it listen on every address of the workload, or remove that address")
    return ok(f"it listens on port {', '.join(map(str, seen.ports))}" if seen.ports else "no port is declared")


def _takes(places: Sequence[str], address: str) -> bool:
    everywhere = ("::",) if ":" in address else ("0.0.0.0", "::")
    return address in places or any(place in places for place in everywhere)
