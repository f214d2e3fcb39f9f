"""Specifications and packets for the tests of the redirect."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hypothesis import strategies as st

from agent.core.facts import Level
from agent.core.redirect import Action, Address, Exceptions, Inbound, Network, Outbound, RedirectSpec
from agent.core.redirect.trace import Packet

SETTABLE = (Level.RELEASED, Level.BLOCK, Level.ON)
PROXY = 2102

BOTH = RedirectSpec(
    proxy_uid=PROXY,
    addresses=(ip_address("192.0.2.10"), ip_address("2001:db8::10")),
    ports=frozenset({5432, 8080, 8081}),
    networks=tuple(
        map(
            ip_network,
            ("10.42.0.0/16", "10.43.0.0/17", "10.43.128.0/18", "10.44.7.7/32", "fd42::/64", "fd43::/112"),
        )
    ),
    exempt=(
        (ip_address("10.42.0.1"), 6443),
        (ip_address("10.43.0.9"), 0),
        (ip_address("fd42::1"), 6443),
        (ip_address("fd42::9"), 0),
    ),
)

# Small worlds, so that the parts of a specification and a packet meet.
_ADDRESSES = [
    ip_address(a) for a in ("10.0.0.1", "10.0.0.2", "10.0.1.1", "127.0.0.1", "fd00::1", "fd00::2", "::1")
]
_NETWORKS: list[Network] = [
    *map(IPv4Network, ("10.0.0.0/30", "10.0.0.1/32", "10.0.1.0/24", "10.0.0.0/24", "10.0.0.4/30", "0.0.0.0/0")),
    *map(IPv6Network, ("fd00::/64", "fd00::1/128", "fd00::8/125", "fd00:0:0:1::/64")),
]
_OWN = [address for address in _ADDRESSES if not address.is_loopback]
_PORTS = [1, 22, 80, 81, 82, 443, 4143, 65535]
_UIDS = [0, 1, 1000, PROXY]
_GIDS = [0, 100]
_INTERFACES = ["eth0", "eth1"]

addresses: st.SearchStrategy[Address] = st.sampled_from(_ADDRESSES)
ports = st.sampled_from(_PORTS)
settable = st.sampled_from(SETTABLE)

_some_ports = st.frozensets(st.sampled_from(_PORTS), max_size=3)
_some_networks = st.lists(st.sampled_from(_NETWORKS), max_size=2, unique=True).map(tuple)

exceptions = st.builds(
    Exceptions,
    ports=_some_ports,
    networks=_some_networks,
    interfaces=st.frozensets(st.sampled_from(_INTERFACES), max_size=1),
    uids=st.frozensets(st.sampled_from(_UIDS), max_size=2),
    gids=st.frozensets(st.sampled_from(_GIDS), max_size=1),
)

specs = st.builds(
    RedirectSpec,
    proxy_uid=st.sampled_from([1, PROXY]),
    addresses=st.lists(st.sampled_from(_OWN), max_size=3, unique=True).map(tuple),
    ports=st.frozensets(st.sampled_from([port for port in _PORTS if port != 22])),
    networks=st.lists(st.sampled_from(_NETWORKS), max_size=4, unique=True).map(tuple),
    exempt=st.lists(st.tuples(addresses, st.sampled_from([0, *_PORTS])), max_size=3, unique=True).map(tuple),
    inbound=st.sampled_from(Inbound),
    outbound=st.sampled_from(Outbound),
    uids=st.frozensets(st.sampled_from(_UIDS), max_size=2),
    inbound_except=st.one_of(st.just(Exceptions()), exceptions),
    outbound_except=st.one_of(st.just(Exceptions()), exceptions),
    ssh_ports=st.sampled_from([frozenset({22}), frozenset({22, 443})]),
    published=st.frozensets(st.tuples(st.sampled_from([None, *_OWN]), st.sampled_from(_PORTS)), max_size=4),
    control_ports=_some_ports,
    guarded=st.booleans(),
)

packets = st.builds(
    Packet,
    hook=st.sampled_from(["prerouting", "output"]),
    interface=st.sampled_from(["lo", *_INTERFACES]),
    destination=addresses,
    port=ports,
    protocol=st.sampled_from(["tcp", "tcp", "tcp", "udp"]),
    opens=st.booleans(),
    uid=st.sampled_from([None, *_UIDS]),
    gid=st.sampled_from([None, *_GIDS]),
    source=addresses,
)


# the whole of it said a second time, by cases instead of rules --------------------------------------------


def hit(level: Level, listener: int) -> tuple[Action, int]:
    """What becomes of a packet that is this direction's business."""
    return {
        Level.RELEASED: (Action.SKIP, 0),
        Level.BLOCK: (Action.RESET, 0),
        Level.ON: (Action.REDIRECT, listener),
    }[level]


def expected(spec: RedirectSpec, into: Level, out: Level, packet: Packet) -> tuple[Action, int]:
    if packet.protocol != "tcp" or not packet.opens:
        return Action.SKIP, 0
    if packet.hook == "prerouting":
        return hit(into, 4143) if _comes_to_us(spec, packet) else (Action.SKIP, 0)
    if packet.uid == spec.proxy_uid and packet.interface == "lo":
        shut = spec.guarded and _is_shut(spec, packet)
        return (Action.RESET if shut else Action.SKIP), 0
    return hit(out, 4140) if _goes_out_by_us(spec, packet) else (Action.SKIP, 0)


def _comes_to_us(spec: RedirectSpec, packet: Packet) -> bool:
    apart = spec.inbound_except
    if packet.interface == "lo" or packet.destination not in spec.addresses:
        return False
    if packet.port in apart.ports or packet.interface in apart.interfaces:
        return False
    families = {address.version for address in spec.addresses}
    assert packet.source
    if packet.source.version in families and any(packet.source in network for network in apart.networks):
        return False
    if spec.inbound is Inbound.ALL:
        left = packet.port in {4143, 4190, 4191, *spec.ssh_ports}
        return not left and not _is_published(spec, packet)
    return spec.inbound is Inbound.DECLARED and packet.port in spec.ports


def _goes_out_by_us(spec: RedirectSpec, packet: Packet) -> bool:
    apart = spec.outbound_except
    if packet.interface == "lo" or packet.uid == spec.proxy_uid:
        return False
    if packet.destination.version not in {address.version for address in spec.addresses}:
        return False
    if {(packet.destination, packet.port), (packet.destination, 0)} & set(spec.exempt):
        return False
    if packet.uid in apart.uids or packet.gid in apart.gids or packet.port in apart.ports:
        return False
    if packet.interface in apart.interfaces or any(packet.destination in network for network in apart.networks):
        return False
    return {
        Outbound.NETWORKS: any(packet.destination in network for network in spec.networks),
        Outbound.ALL: True,
        Outbound.UIDS: packet.uid in spec.uids,
        Outbound.OFF: False,
    }[spec.outbound]


def _is_published(spec: RedirectSpec, packet: Packet) -> bool:
    """At the address that it goes to; or at each that the workload has, and then to whatever address it goes."""
    at = {address for address, port in spec.published if port == packet.port}
    if packet.port in spec.ports or not at:
        return False
    return None in at or at >= {*spec.addresses} or packet.destination in at & {*spec.addresses}


def _is_shut(spec: RedirectSpec, packet: Packet) -> bool:
    port = packet.port
    if port in {53, 4143} | spec.control_ports:
        return False
    undeclared = spec.inbound is Inbound.OFF and spec.outbound is Outbound.OFF and not spec.ports
    if spec.inbound is Inbound.ALL or undeclared:
        return port in spec.ssh_ports | spec.inbound_except.ports or _is_published(spec, packet)
    return port not in spec.ports - spec.inbound_except.ports
