"""Judgements about the way from this host to the cluster, and from the cluster to the application."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.doctor.check import Outcome, fail, of_fault, ok, unknown, warn
from agent.core.proxy import Listener
from agent.core.reasons import Fault, Reason


@dataclass(frozen=True)
class ControlPlane:
    """What this host finds of the two controllers, each a fault or None."""

    policy: Fault | None
    destination: Fault | None

    @property
    def faults(self) -> list[Fault]:
        return [fault for fault in (self.policy, self.destination) if fault is not None]


def names(seen: ControlPlane) -> Outcome:
    unresolved = [fault for fault in seen.faults if fault.reason is Reason.CONTROL_PLANE_UNRESOLVED]
    return of_fault(unresolved[0]) if unresolved else ok("policy and destination controller have addresses")


def control_plane(seen: ControlPlane) -> Outcome:
    return of_fault(seen.faults[0]) if seen.faults else ok("both controllers answer, and prove to be Linkerd's")


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
