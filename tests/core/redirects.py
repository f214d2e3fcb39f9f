"""Specifications and packets for the tests of the redirect."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hypothesis import strategies as st

from agent.core.facts import Level
from agent.core.redirect import Address, Network, RedirectSpec
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
_UIDS = [0, 1, PROXY]

addresses: st.SearchStrategy[Address] = st.sampled_from(_ADDRESSES)
ports = st.sampled_from(_PORTS)
settable = st.sampled_from(SETTABLE)

specs = st.builds(
    RedirectSpec,
    proxy_uid=st.sampled_from([1, PROXY]),
    addresses=st.lists(st.sampled_from(_OWN), max_size=3, unique=True).map(tuple),
    ports=st.frozensets(st.sampled_from([port for port in _PORTS if port != 22])),
    networks=st.lists(st.sampled_from(_NETWORKS), max_size=4, unique=True).map(tuple),
    exempt=st.lists(st.tuples(addresses, st.sampled_from([0, *_PORTS])), max_size=3, unique=True).map(tuple),
)

packets = st.builds(
    Packet,
    hook=st.sampled_from(["prerouting", "output"]),
    interface=st.sampled_from(["lo", "eth0"]),
    destination=addresses,
    port=ports,
    protocol=st.sampled_from(["tcp", "tcp", "tcp", "udp"]),
    opens=st.booleans(),
    uid=st.sampled_from([None, *_UIDS]),
)
