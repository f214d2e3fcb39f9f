"""The two slots of the proxy: where each listens, and which of them the redirect names.

A host that stands alone replaces its proxy by two slots. `main` is fairlead-proxy.service, which serves whenever
it can. `standby` serves while `main` is replaced or has ended; new connections go to the slot that the redirect
names, and open ones stay where they are.

Invariants, each proved over every case in tests/core/test_slots.py:
- the redirect leaves a slot that serves only for one that is proved ready;
- what is not known changes nothing;
- while `main` is to stop, it is not named where the standby is ready, nor before the standby is read;
- whatever ends at whatever time, the redirect comes back to `main` once `main` is proved ready.
"""

import enum
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Final

from agent.core.addresses import Address, Network
from agent.core.late import dataclass

if TYPE_CHECKING:  # the facts name a slot
    from agent.core.facts import Maybe


class Slot(enum.Enum):
    MAIN = "main"
    STANDBY = "standby"


@dataclass(frozen=True)
class Place:
    """Where the proxy of a slot listens: inbound at its own address on lo, the rest on 127.0.0.1. `network`: of
    all slots; no packet to it may come from outside."""

    address: Address
    outbound_port: int
    admin_port: int
    network: Network


# By IP version. That of IPv6 is local and unique by RFC 4193: its digits were drawn by chance, once.
NETWORKS: Final[Mapping[int, Network]] = {
    4: IPv4Network("169.254.41.0/24"),
    6: IPv6Network("fdec:6392:6e0c::/64"),
}
_PORTS = {Slot.MAIN: (4140, 4191), Slot.STANDBY: (4142, 4192)}  # outbound, admin
OUTBOUND_PORTS, ADMIN_PORTS = map(frozenset, zip(*_PORTS.values(), strict=True))


def places(network: Network = NETWORKS[4]) -> Mapping[Slot, Place]:
    return {slot: Place(network[n], *_PORTS[slot], network) for n, slot in enumerate(Slot, start=1)}


def why_not(versions: frozenset[int], backend: str, *, redirected: bool) -> str:
    """Why a host has one slot; "": it can have two. `versions`: IP versions of the workload's addresses."""
    if not redirected:
        return "redirect.mode is off, so no rule can name a slot"
    if backend.startswith("iptables"):
        return f"redirect.backend is {backend}, and only rules of nftables name a slot"
    if len(versions) > 1:
        return "the workload has IPv4 and IPv6 addresses, and the proxy has one inbound listen address"
    return ""


def named(active: Slot, main: "Maybe[bool]", standby: "Maybe[bool]", *, leaving: bool) -> Slot:
    """The slot that the redirect names next. `main`, `standby`: it is proved ready (True), is not (False), or that
    is not known. `leaving`: main is to stop, or to be replaced."""
    if leaving and standby is not False:  # a new agent may have read main alone, which is about to stop
        return Slot.STANDBY if standby is True else active
    if main is True:
        return Slot.MAIN
    if main is False and standby is True:
        return Slot.STANDBY
    return active


def needed(active: Slot, *, leaving: bool, kept: bool) -> bool:
    """The standby is to run. `kept`: the configuration keeps one."""
    return kept or leaving or active is Slot.STANDBY


def serves(active: Slot, main: "Maybe[bool]", standby: "Maybe[bool]") -> "Maybe[bool]":
    """New connections reach a proxy that is proved ready."""
    return main if active is Slot.MAIN else standby


_SPARE = 32 << 20  # bytes that the host keeps free beside a second proxy


def room(available: int, resident: int) -> str:
    """Why there is no memory for a second proxy; "": there is. Both in bytes: what the host has left, and what the
    running proxy takes."""
    needed = resident + _SPARE
    if available >= needed:
        return ""
    return f"a second proxy may need {needed >> 20} MiB, and {available >> 20} MiB are left"
