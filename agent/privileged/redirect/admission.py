"""What the host's own firewall does with connections to the proxy, from peers and from the host itself: read
here, judged by core.

`plan` and every other report use the same words.
"""

from collections.abc import Iterator
from typing import Final

from agent.core.late import replace
from agent.core.reason import Reason
from agent.core.redirect import Address, Inbound, Network, Outbound, RedirectSpec
from agent.core.redirect.admission import Admission, Seen, outcome, spread
from agent.core.redirect.admission import admission as judged
from agent.core.redirect.walk import WIRE, Arrival, Verdict
from agent.privileged import Refusal
from agent.privileged.redirect import departures, host_rules
from agent.privileged.redirect.backends.iptables import KINDS
from agent.privileged.system import iproute, programs

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
    or its answer is not, and the proxy resets a connection whose destination it cannot learn."""
    if isinstance(firewall, Refusal):
        return
    for _, arrival in spread(firewall, list(_arrivals(spec, networks)), networks):
        if spec.inbound is not Inbound.OFF or not arrival.translated:
            _must_be_tracked(firewall, arrival, "inbound")
    for examples in departures.examples(firewall, spec).values():
        untracked = [one for one in examples if outcome(firewall, one).untracked]
        # A redirect of every destination leaves alone what the host itself does not track.
        if len(untracked) == len(examples) or spec.outbound is Outbound.NETWORKS:
            for departure in untracked[:1]:
                _must_be_tracked(firewall, departure, "outbound")


def _must_be_tracked(firewall: Seen, arrival: Arrival, direction: str) -> None:
    found = outcome(firewall, arrival)
    if found.untracked:
        detail = _UNTRACKED.format(f"IPv{arrival.version} {direction}", found.untracks)
        raise Refusal(detail, Reason.REDIRECT_REFUSED)


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
            yield _arrived(spec, Arrival(interface, source, address, spec.inbound_listener, translated=False))
            for port in sorted(spec.ports - spec.ssh_ports):
                yield _arrived(spec, Arrival(interface, source, address, port, translated=False))


def _arrived(spec: RedirectSpec, dialled: Arrival) -> Arrival:
    """The same after the redirect, where that translates it: to a slot also what dials the proxy's port."""
    if spec.inbound_at is not None:
        at, port = spec.inbound_at, spec.inbound_listener
        return replace(dialled, destination=at, port=port, translated=True, before=dialled)
    if dialled.port == spec.inbound_listener:
        return dialled
    return replace(dialled, port=spec.inbound_listener, translated=True, before=dialled)


def _interfaces() -> dict[str, str]:
    """Address → the interface that has it; {} where that is unknown. On lo it is reached by any other."""
    links = iproute.ip("address", "show")
    found = {one["local"]: link["ifname"] for link in links for one in link.get("addr_info", []) if "local" in one}
    return {address: WIRE if name == "lo" else name for address, name in found.items()}
