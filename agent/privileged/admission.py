"""Whether peers reach the proxy's inbound port through the host's own firewall: read here, judged by core.

The same words stand in `plan` and wherever else this is told.
"""

import json
from collections.abc import Iterator

from agent.core.redirect import Address, Network, RedirectSpec
from agent.core.redirect.admission import Admission, Seen
from agent.core.redirect.admission import admission as judged
from agent.core.redirect.walk import Arrival, Verdict
from agent.privileged import Refusal
from agent.privileged.backends import nftables, programs
from agent.privileged.backends.iptables import KINDS, Iptables


def admission(spec: RedirectSpec, networks: tuple[Network, ...]) -> Admission:
    """`networks`: where peers are. Never raises: what cannot be read cannot be told."""
    try:
        return judged(_seen(), list(_arrivals(spec, networks)), networks)
    except Refusal as refusal:
        return Admission(Verdict.UNKNOWN, spec.inbound_listener, why=refusal.detail)


def _seen() -> Seen:
    listing = None
    if programs.find("nft"):
        done = nftables.run("list", "ruleset")
        if done.returncode != 0:
            raise nftables.refusal("read the host's firewall", done.stderr)
        listing = json.loads(done.stdout)
    saved = {(kind, version): text for kind in KINDS for version, text in Iptables(kind).seen().items()}
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
