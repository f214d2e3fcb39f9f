"""What the host's own firewall does with connections to the proxy, from peers and from the host itself: read
here, judged by core.

`plan` and every other report use the same words.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final

from agent.core.reasons import Reason
from agent.core.redirect import Address, Inbound, Network, Outbound, RedirectSpec
from agent.core.redirect.admission import Admission, Seen, firewalld, outcome
from agent.core.redirect.admission import admission as judged
from agent.core.redirect.walk import WIRE, Arrival, Verdict
from agent.privileged import Refusal
from agent.privileged.redirect import host_rules
from agent.privileged.redirect.backends.iptables import KINDS
from agent.privileged.system import programs

_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}
_SHUT_OUT: Final = (
    "cannot redirect IPv{} outbound: the host's firewall refuses it on its way to the proxy at {} ({})"
)
_WAY_OUT: Final = "leave such networks out of redirect.outbound_networks"
_FIREWALLD: Final = f"firewalld: RFC3964_IPv4=no in firewalld.conf; or {_WAY_OUT}"
_UNTRACKED: Final = (
    "cannot redirect {}: the host's firewall exempts it from connection tracking ({}); track connections to the "
    "proxy there"
)


# Of what comes to the proxy, and of what goes out to it.
INWARD: Final = frozenset({"ingress", "prerouting", "input", "output", "postrouting", "egress"})
# On lo no set is looked up: where one decides there, the result is unknown.
OUTWARD: Final = frozenset({"output"})


def seen(hooks: frozenset[str] = INWARD | OUTWARD) -> Seen | Refusal:
    """The firewall as it stands now, for the two below; or why it cannot be read. Sets
    that nothing at these hooks refers to are left out."""
    try:
        return _seen(hooks)
    except Refusal as refusal:
        return refusal


def admission(firewall: Seen | Refusal, spec: RedirectSpec, networks: tuple[Network, ...]) -> Admission:
    """`networks`: where peers are. Never raises."""
    if isinstance(firewall, Refusal):
        return Admission(Verdict.UNKNOWN, spec.inbound_listener, why=firewall.detail)
    return judged(firewall, list(_arrivals(spec, networks)), networks)


def tracked(firewall: Seen | Refusal, spec: RedirectSpec, networks: tuple[Network, ...] = ()) -> None:
    """Raises Refusal where the firewall keeps what is redirected from being tracked: nothing is translated then,
    or its answer is not."""
    if isinstance(firewall, Refusal):
        return
    if spec.inbound is not Inbound.OFF:
        for arrival in _arrivals(spec, networks):
            if arrival.translated:
                _must_be_tracked(firewall, arrival, "inbound")
    for departure in departures(spec):
        _must_be_tracked(firewall, departure, "outbound")


def _must_be_tracked(firewall: Seen, arrival: Arrival, direction: str) -> None:
    found = outcome(firewall, arrival)
    if found.untracked:
        detail = _UNTRACKED.format(f"IPv{arrival.version} {direction}", found.untracks)
        raise Refusal(detail, Reason.REDIRECT_REFUSED)


def outward(firewall: Seen | Refusal, spec: RedirectSpec) -> None:
    """Raises Refusal where the firewall refuses what would be redirected outbound.

    Its output rules see the proxy's address and still the interface of the old one. firewalld, by default, rejects
    ::/96 there (RFC 3964, 6to4), and so ::1: every IPv6 connection to the mesh would fail at once.
    """
    if isinstance(firewall, Refusal):
        return
    for departure in departures(spec):
        found = outcome(firewall, departure)
        if found.verdict is Verdict.REFUSED:
            why = f"{found.rule}; {_FIREWALLD if firewalld(firewall, departure) else _WAY_OUT}"
            loopback = _LOOPBACK[departure.version]
            raise Refusal(_SHUT_OUT.format(departure.version, loopback, why), Reason.REDIRECT_REFUSED)


def departures(spec: RedirectSpec) -> Iterator[Arrival]:
    """An example of what goes out to each network, as it is on its way to the proxy."""
    for version in sorted(_versions(spec)):
        mine = next((address for address in spec.addresses if address.version == version), None)
        there = [network for network in spec.networks if network.version == version]
        sample = there if spec.outbound is Outbound.NETWORKS else []
        for network in (*sample,) or (None,):
            yield _departure(spec, version, mine, network)


def _departure(spec: RedirectSpec, version: int, mine: Address | None, network: Network | None) -> Arrival:
    there = network[-2 % network.num_addresses] if network else None
    interface = (_interface_to(there) if there else None) or WIRE
    loopback = ip_address(_LOOPBACK[version])
    before = Arrival(interface, mine, there, None, translated=False, hook="output") if there else None
    return Arrival(interface, mine, loopback, spec.outbound_listener, hook="output", before=before)


def _interface_to(there: Address) -> str | None:
    """By which it is reached; None: unknown."""
    for route in _ip("route", "get", str(there)):
        return str(route["dev"]) if "dev" in route else None
    return None


def _versions(spec: RedirectSpec) -> set[int]:
    """Those of what is redirected outbound."""
    found = {network.version for network in spec.networks}
    if spec.outbound is Outbound.OFF:
        return set()
    return {v for v in spec.families if spec.outbound is not Outbound.NETWORKS or v in found}


def _seen(hooks: frozenset[str]) -> Seen:
    listing = host_rules.listing(hooks) if programs.find("nft") else None
    saved = {(kind, version): text for kind in KINDS for version, text in host_rules.saved(kind).items()}
    return Seen(listing, saved)


def _arrivals(spec: RedirectSpec, networks: tuple[Network, ...]) -> Iterator[Arrival]:
    """To each address, from each network: redirected, and dialled directly as peers of Linkerd 2.18 do."""
    interfaces = _interfaces()
    for address in spec.addresses:
        near = [one for one in networks if one.version == address.version]
        sources: list[Address | None] = [one[-2 % one.num_addresses] for one in near]
        interface = interfaces.get(str(address), WIRE)
        for source in sources or [None]:
            yield Arrival(interface, source, address, spec.inbound_listener, translated=False)
            for port in sorted(spec.ports - spec.ssh_ports):
                dialled = Arrival(interface, source, address, port, translated=False)
                yield replace(dialled, port=spec.inbound_listener, translated=True, before=dialled)


def _interfaces() -> dict[str, str]:
    """Address → the interface that has it; {} where that is unknown. On lo it is reached by any other."""
    links = _ip("address", "show")
    found = {one["local"]: link["ifname"] for link in links for one in link.get("addr_info", []) if "local" in one}
    return {address: WIRE if name == "lo" else name for address, name in found.items()}


def _ip(*words: str) -> list[dict[str, Any]]:
    """[]: there is no such program, or it fails."""
    program = programs.find("ip")
    done = programs.run(program, "-j", *words) if program else None
    if done is None or done.returncode != 0:
        return []
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found
