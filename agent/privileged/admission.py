"""What the host's own firewall does with connections to the proxy, from peers and from the host itself: read
here, judged by core.

The same words stand in `plan` and wherever else this is told.
"""

import json
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from agent.core.reasons import Reason
from agent.core.redirect import Address, Network, Outbound, RedirectSpec
from agent.core.redirect.admission import Admission, Seen, refuses
from agent.core.redirect.admission import admission as judged
from agent.core.redirect.walk import Arrival, Verdict
from agent.privileged import Refusal, host_rules
from agent.privileged.backends import programs
from agent.privileged.backends.iptables import KINDS

_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}
_WIRE: Final = "(any)"  # an interface that is not lo
_SHUT_OUT: Final = (
    "cannot redirect IPv{} outbound: the host's firewall refuses it on its way to the proxy at {} (firewalld: "
    "RFC3964_IPv4=no in firewalld.conf; or leave such networks out of redirect.outbound_networks)"
)


# Of what comes to the proxy, and of what goes out to it.
INWARD: Final = frozenset({"ingress", "prerouting", "input"})
OUTWARD: Final = frozenset({"output"})


def seen(hooks: frozenset[str] = INWARD | OUTWARD) -> Seen | Refusal:
    """The firewall as it stands now, for the two below; or why it cannot be read, and so cannot be told of. Sets
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


def outward(firewall: Seen | Refusal, spec: RedirectSpec) -> None:
    """Raises Refusal where the firewall refuses what would be redirected outbound.

    Its output rules see the proxy's address and still the interface of the old one. firewalld, as it comes,
    rejects ::/96 there (RFC 3964, 6to4), and so ::1: every IPv6 connection to the mesh would fail at once.
    """
    if isinstance(firewall, Refusal):
        return
    for version, loopback in _LOOPBACK.items():
        mine = next((address for address in spec.addresses if address.version == version), None)
        departure = Arrival(_WIRE, mine, ip_address(loopback), spec.outbound_listener, hook="output")
        if version in _versions(spec) and refuses(firewall, departure):
            raise Refusal(_SHUT_OUT.format(version, loopback), Reason.REDIRECT_REFUSED)


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
        for source in sources or [None]:
            for translated in (True, False):
                interface = interfaces.get(str(address))
                yield Arrival(interface, source, address, spec.inbound_listener, translated)


def _interfaces() -> dict[str, str]:
    """Address → the interface that has it; {} where that cannot be had."""
    program = programs.find("ip")
    done = programs.run(program, "-j", "address", "show") if program else None
    if done is None or done.returncode != 0:
        return {}
    links = json.loads(done.stdout)
    return {one["local"]: link["ifname"] for link in links for one in link.get("addr_info", []) if "local" in one}
