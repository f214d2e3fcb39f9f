"""What goes out through the proxy, and what the host's own firewall does with it: read here, judged by core."""

from ipaddress import ip_address, ip_network
from typing import Final

from agent.core.reason import Reason
from agent.core.redirect import Address, Network, Outbound, RedirectSpec
from agent.core.redirect.admission import Seen, spread
from agent.core.redirect.departure import Departure, departure
from agent.core.redirect.walk import WIRE, Arrival, Verdict
from agent.host import loopback
from agent.privileged import Refusal
from agent.privileged.system import iproute

_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}
_EVERYWHERE: Final = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
# To these no connection leaves a host: itself, and what is no address of a single host.
_NOT_OUTSIDE: Final = tuple(map(ip_network, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::1/128", "ff00::/8")))
_SHUT_OUT: Final = (
    "cannot redirect IPv{} outbound: the host's firewall refuses it on its way to the proxy at {} ({})"
)
_WAY_OUT: Final = "leave such networks out of redirect.outbound_networks"
_ALL_WAY_OUT: Final = "accept it there, or list networks in redirect.outbound_except_networks"
_FIREWALLD: Final = "firewalld: RFC3964_IPv4=no in firewalld.conf; or {}"


def judged(firewall: Seen | Refusal, spec: RedirectSpec) -> list[Departure]:
    """One for each IP version that has something to redirect. Never raises."""
    if isinstance(firewall, Refusal):
        return [Departure(version, Verdict.UNKNOWN, firewall.detail) for version in sorted(_versions(spec))]
    every, apart = spec.outbound is not Outbound.NETWORKS, _apart(spec)
    departures = (
        departure(firewall, _departures(spec, version), _networks(spec, version), apart, every=every)
        for version in sorted(_versions(spec))
    )
    return [one for one in departures if one is not None]


def must_pass(firewall: Seen | Refusal, spec: RedirectSpec) -> None:
    """Raises Refusal where the firewall refuses everything that would be redirected outbound. Some destinations
    that it refuses are its own decision, with and without a redirect.

    Its output rules see the proxy's address and still the interface of the old one. firewalld, by default, rejects
    ::/96 there (RFC 3964, 6to4), and so ::1: every IPv6 connection to the mesh would fail at once.
    """
    for outbound in judged(firewall, spec):
        if outbound.verdict is Verdict.REFUSED and not outbound.partly:
            way_out = _WAY_OUT if spec.outbound is Outbound.NETWORKS else _ALL_WAY_OUT
            where = f"to {outbound.where}: " if outbound.where else ""
            why = f"{where}{outbound.cause}; {_FIREWALLD.format(way_out) if outbound.firewalld else way_out}"
            detail = _SHUT_OUT.format(outbound.version, _LOOPBACK[outbound.version], why)
            raise Refusal(detail, Reason.REDIRECT_REFUSED)


def loopback_must_be_up() -> None:
    """Raises Refusal: nothing would reach the proxy, and the proxy would reach nothing."""
    try:
        up = loopback.is_up()
    except OSError as error:
        raise Refusal(f"cannot read the state of lo: {error.strerror}", Reason.REDIRECT_FAILED) from None
    if not up:
        raise Refusal(f"cannot redirect: {loopback.DOWN}", Reason.LOOPBACK_DOWN, loopback.REMEDY)


def examples(firewall: Seen, spec: RedirectSpec) -> dict[int, list[Arrival]]:
    """By IP version: one of what goes out to each part of each network that rules name."""
    found = {
        version: spread(firewall, _departures(spec, version), _networks(spec, version), _apart(spec))
        for version in sorted(_versions(spec))
    }
    return {version: [one for _, one in given] for version, given in found.items() if given}


def _versions(spec: RedirectSpec) -> set[int]:
    return {version for version in spec.families if _networks(spec, version)}


def _networks(spec: RedirectSpec, version: int) -> list[Network]:
    """The destinations that are redirected."""
    if not spec.outward:
        return []
    if spec.outbound is not Outbound.NETWORKS:
        return [_EVERYWHERE[version]]
    return [network for network in spec.networks if network.version == version]


def _apart(spec: RedirectSpec) -> list[Network]:
    """The destinations that are not redirected whatever the port."""
    exempt = [ip_network(address) for address, port in spec.exempt if not port]
    own = [ip_network(address) for address in spec.addresses]
    return [*_NOT_OUTSIDE, *own, *exempt, *spec.outbound_except.networks]


def _departures(spec: RedirectSpec, version: int) -> list[Arrival]:
    found = (_departure(spec, version, network) for network in _networks(spec, version))
    return [one for one in found if one is not None]


def _departure(spec: RedirectSpec, version: int, network: Network) -> Arrival | None:
    """None: it leaves by an interface that is not redirected."""
    mine = next((address for address in spec.addresses if address.version == version), None)
    there = network[-2 % network.num_addresses]
    interface = _interface_to(there if spec.outbound is Outbound.NETWORKS else _OUTSIDE[version]) or WIRE
    if interface in spec.outbound_except.interfaces:
        return None
    before = Arrival(interface, mine, there, None, translated=False, hook="output")
    return Arrival(
        interface, mine, ip_address(_LOOPBACK[version]), spec.outbound_listener, hook="output", before=before
    )


# By the default route, where there is one.
_OUTSIDE: Final = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}


def _interface_to(there: Address) -> str | None:
    """By which it is reached; None: unknown."""
    for route in iproute.ip("route", "get", str(there)):
        return str(route["dev"]) if "dev" in route else None
    return None
