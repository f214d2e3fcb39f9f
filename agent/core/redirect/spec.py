"""What may be redirected on a host, and what must never be asked for."""

import enum
from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address

from agent.core.late import dataclass
from agent.core.redirect.rules import Address, Network

Published = tuple[Address | None, int]  # a TCP port at this address of the host; None: at every one

SSH_PORT, DNS_PORT = 22, 53
_PROXY_PORTS = frozenset({4190, 4191})  # tap and admin
LOOPBACK = {4: ip_address("127.0.0.1"), 6: ip_address("::1")}


class Inbound(enum.Enum):
    DECLARED = "declared"  # the declared ports
    ALL = "all"  # every port of the workload's addresses, except …
    OFF = "off"


class Outbound(enum.Enum):
    NETWORKS = "networks"  # what goes to the cluster's networks
    ALL = "all"  # whatever leaves this host, except …
    UIDS = "uids"  # whatever the chosen users send off this host, except …
    OFF = "off"


@dataclass(frozen=True)
class Exceptions:
    """What stays untouched. `networks`: where it comes from (inbound) or goes to (outbound). `uids`, `gids`: of
    the socket that sends; a packet that arrives has none yet, so they say nothing inbound."""

    ports: frozenset[int] = frozenset()
    networks: tuple[Network, ...] = ()
    interfaces: frozenset[str] = frozenset()
    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()


@dataclass(frozen=True)
class RedirectSpec:
    """What may be redirected on this host. `proxy_uid` > 0: the user whose own traffic goes out directly."""

    proxy_uid: int
    addresses: tuple[Address, ...] = ()  # the workload's own
    ports: frozenset[int] = frozenset()  # declared ports: inbound
    networks: tuple[Network, ...] = ()  # of the cluster: outbound
    exempt: tuple[tuple[Address, int], ...] = ()  # never redirected outbound; port 0: every port
    inbound_listener: int = 4143
    outbound_listener: int = 4140
    inbound: Inbound = Inbound.DECLARED
    outbound: Outbound = Outbound.NETWORKS
    uids: frozenset[int] = frozenset()  # of Outbound.UIDS
    inbound_except: Exceptions = Exceptions()
    outbound_except: Exceptions = Exceptions()
    ssh_ports: frozenset[int] = frozenset({SSH_PORT})  # where operators come in
    published: frozenset[Published] = frozenset()  # by container runtimes; left out of Inbound.ALL unless declared
    control_ports: frozenset[int] = frozenset()  # of a control plane that the proxy may dial on this host
    inbound_at: Address | None = None  # of the slot that is named; None: the proxy listens on every address
    private: Network | None = None  # the network of the slots, which nothing from outside may reach
    guarded: bool = True  # False: of no host, so no proxy has this uid

    def __post_init__(self) -> None:
        if self.proxy_uid <= 0:
            raise ValueError(f"the proxy's uid must be above 0, not {self.proxy_uid}")

    @property
    def families(self) -> frozenset[int]:
        """The IP versions of the workload's addresses. The proxy listens on no other, so no rule has another."""
        return frozenset(address.version for address in self.addresses)

    @property
    def published_everywhere(self) -> frozenset[int]:
        """The ports that are published at each of the workload's addresses, the declared ones apart."""
        found = {port for _, port in self.published} - self.ports
        return frozenset(port for port in found if all(self._publishes(one, port) for one in self.addresses))

    def published_at(self, address: Address) -> frozenset[int]:
        """The ports that are published at this address and not at each, the declared ones apart."""
        found = {port for one, port in self.published if one == address}
        return frozenset(found - self.ports - self.published_everywhere)

    def _publishes(self, address: Address, port: int) -> bool:
        return bool(self.published & {(address, port), (None, port)})

    @property
    def outward(self) -> bool:
        """Something outbound can go to the proxy."""
        return goes_out(self.outbound, self.networks, self.uids)

    @property
    def outward_families(self) -> frozenset[int]:
        """The IP versions of what is redirected outbound."""
        if not self.outward:
            return frozenset()
        if self.outbound is not Outbound.NETWORKS:
            return self.families
        return self.families & {network.version for network in self.networks}

    @property
    def arrivals(self) -> frozenset[tuple[Address, int]]:
        """Where a redirected connection arrives, by address and port: the process that listens there gets it."""
        own = self.addresses if self.inbound_at is None else (self.inbound_at,)
        inbound = ((address, self.inbound_listener) for address in own)
        outbound = ((LOOPBACK[version], self.outbound_listener) for version in self.outward_families)
        return frozenset((*inbound, *outbound))

    @property
    def own_ports(self) -> frozenset[int]:
        """The proxy's own ports that peers dial. Redirected, they would still arrive; blocked, they would not."""
        return _PROXY_PORTS | {self.inbound_listener}

    @property
    def local_ports(self) -> frozenset[int]:
        """The ports of this host that the proxy may dial whatever is declared. Its own inbound port is one: a
        host that calls its own Service through the mesh dials it, and the proxy itself refuses a loop."""
        return self.control_ports | {DNS_PORT, self.inbound_listener}


def outbound_of(mode: str, written: str) -> Outbound:
    """By `redirect.mode` and `redirect.outbound`. The mode "off" turns off both directions at once, so its callers
    ask for it first."""
    return Outbound.ALL if mode == "linkerd-guide" else Outbound(written)


def goes_out(outbound: Outbound, networks: Collection[object], uids: Collection[object]) -> bool:
    """Something outbound can go to the proxy."""
    match outbound:
        case Outbound.NETWORKS:
            return bool(networks)
        case Outbound.UIDS:
            return bool(uids)
    return outbound is Outbound.ALL


def refused_ports(spec: RedirectSpec, sshd: Iterable[int]) -> frozenset[int]:
    """The declared ports by which an operator comes in. `sshd`: where sshd listens, besides port 22."""
    return spec.ports & {SSH_PORT, *spec.ssh_ports, *sshd}


def caught_ports(spec: RedirectSpec) -> frozenset[int]:
    """The ports whose inbound connections go to the proxy, at one of the workload's addresses or more."""
    match spec.inbound:
        case Inbound.DECLARED:
            return spec.ports - spec.inbound_except.ports
        case Inbound.OFF:
            return frozenset()
    left = spec.ssh_ports | spec.own_ports | spec.published_everywhere | spec.inbound_except.ports
    return frozenset(range(1, 65536)) - left


def swallowed(spec: RedirectSpec, subnets: Iterable[Network]) -> tuple[tuple[Network, Network], ...]:
    """(configured network, subnet of this host that lies in it): redirecting it would catch the neighbours,
    the gateway and the administrators of this host. A single address is not a subnet."""
    if spec.outbound is not Outbound.NETWORKS:
        return ()
    shared = [subnet for subnet in subnets if subnet.prefixlen < subnet.max_prefixlen]
    return tuple(
        (network, subnet)
        for network in spec.networks
        for subnet in shared
        if subnet.version == network.version and subnet.subnet_of(network)  # type: ignore[arg-type]
    )


# The guide for hosts outside the cluster redirects all TCP but these ports.
GUIDE_INBOUND_EXCEPT = frozenset({4190, 4191, 4567, 4568})
GUIDE_OUTBOUND_EXCEPT = frozenset({4567, 4568})


def differences_from_guide(spec: RedirectSpec) -> tuple[str, ...]:
    """Where these rules select something else than those of Linkerd's guide, for people."""
    differences = [
        "inbound: only the workload's own addresses, so that forwarded and container traffic passes",
        f"inbound: never sshd's ports ({', '.join(map(str, sorted(spec.ssh_ports)))})",
        f"outbound: the uid {spec.proxy_uid} is left alone, not root",
        "both ways: only what opens a connection; open streams stay as they are",
    ]
    if published := list(_published(spec)):
        differences.append(f"inbound: not what containers publish ({', '.join(published)})")
    if spec.exempt:
        listed = ", ".join(f"{address} port {port or 'any'}" for address, port in spec.exempt)
        differences.append(f"outbound: never {listed}")
    if 6 in spec.families:
        differences.append("both ways: IPv6 too")
    return tuple(differences)


def _published(spec: RedirectSpec) -> Iterator[str]:
    yield from map(str, sorted(spec.published_everywhere))
    for address in spec.addresses:
        yield from (f"{address} port {port}" for port in sorted(spec.published_at(address)))
