"""The ports that container runtimes publish on this host now: by rules of either kind, or by a program of root
that listens."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from agent.core.redirect import Address, Published, firewall_iptables, published
from agent.core.redirect.walk import WIRE, Arrival
from agent.privileged import Refusal
from agent.privileged.redirect import host_rules, request_cache
from agent.privileged.redirect.backends.iptables import KINDS
from agent.privileged.system import programs, sshd

_HOOKS: Final = frozenset({"prerouting"})


def ports(addresses: Sequence[Address]) -> frozenset[Published]:
    """Over TCP, at each of these addresses of this host. On the way to BLOCK, and where the rules cannot be read,
    those that were known last. Raises Refusal: none are, and a program that could tell fails."""
    listen, known = frozenset(_by_listeners(addresses)), host_rules.remembered()
    if request_cache.left_alone():
        return listen | (known.published if known else frozenset())
    try:
        return listen | _by_rules(addresses)
    except Refusal:
        if known is None:
            raise
        return listen | known.published


def _by_listeners(addresses: Sequence[Address]) -> Iterator[Published]:
    """A socket on "::" may be one of both IP versions."""
    for address, port in sshd.places(published.LISTENERS):
        if not address.is_unspecified:
            yield from ((one, port) for one in addresses if one == address)
        elif address.version == 6:
            yield None, port
        else:
            yield from ((one, port) for one in addresses if one.version == 4)


def _by_rules(addresses: Iterable[Address]) -> frozenset[Published]:
    packets = [Arrival(WIRE, None, one, None, translated=False, hook="prerouting") for one in addresses]
    ports: frozenset[Published] = frozenset()
    kept: set[str] = set()
    for kind in KINDS:
        for version, text in host_rules.saved(kind).items():
            ports |= published.from_iptables(text, [packet for packet in packets if packet.version == version])
            if kind == "nft" and firewall_iptables.bases(text) & {("nat", "PREROUTING")}:
                kept.add("ip" if version == 4 else "ip6")
    if programs.find("nft"):
        ports |= published.from_nft(host_rules.listing(_HOOKS), packets, frozenset(kept))
    return ports
