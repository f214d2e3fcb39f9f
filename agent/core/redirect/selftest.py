"""Whether live rules do what they should, and no harm: checked packet by packet, with the tracer.

Law: pure. It states the intention independently and does not use the code that creates the rules. A host
cannot dial its own inbound redirect, so packets are traced through the rules that the kernel gave back.
"""

from collections.abc import Iterator
from ipaddress import ip_network

from agent.core.facts import Level
from agent.core.late import dataclass
from agent.core.redirect import (
    SSH_PORT,
    Action,
    Address,
    Inbound,
    Network,
    Outbound,
    RedirectSpec,
    Ruleset,
)
from agent.core.redirect.trace import Packet, trace

_WIRE, _LOOPBACK = "(any)", "lo"  # an interface that no rule names represents all of them
_DNS, _ANY = 53, 9
_SOME = 16
_ELSEWHERE = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))  # unassigned: they represent all others


@dataclass(frozen=True)
class Around:
    """What must keep working. `sshd`: the ports on which it listens, besides port 22."""

    sshd: frozenset[int] = frozenset()
    resolvers: frozenset[Address] = frozenset()
    gateways: frozenset[Address] = frozenset()


def harms(spec: RedirectSpec, rules: Ruleset | None, around: Around) -> Iterator[str]:
    """What the rules catch and must not, in words for people."""
    for packet, what in _untouchable(spec, around):
        action, rule = trace(rules, packet)
        if action is not Action.SKIP:
            yield f"{what} meets the rule {rule.name if rule else ''!r}"


def misses(spec: RedirectSpec, rules: Ruleset | None, inbound: Level, outbound: Level) -> Iterator[str]:
    """What the rules are for at these levels and do not catch, or do otherwise."""
    for packet in _declared(spec):
        yield from _differs(rules, packet, inbound, spec.inbound_listener, spec.inbound_at)
    yield from _slots(spec, rules)
    for packet in _abroad(spec):
        yield from _differs(rules, packet, outbound, spec.outbound_listener)


def _slots(spec: RedirectSpec, rules: Ruleset | None) -> Iterator[str]:
    """Of slots: at every level peers dial the one that is named, and nobody outside its own address."""
    if spec.inbound_at is None:
        return
    for address in spec.addresses:
        dialled = _in(address, spec.inbound_listener)
        yield from _differs(rules, dialled, Level.ON, spec.inbound_listener, spec.inbound_at)
    packet = _in(spec.inbound_at, spec.inbound_listener)
    if trace(rules, packet)[0] is not Action.DROP:
        yield f"tcp in to {packet.destination}, an address of a slot, is not dropped"


def _differs(
    rules: Ruleset | None, packet: Packet, level: Level, listener: int, at: Address | None = None
) -> Iterator[str]:
    on = (Action.REDIRECT, listener, at)
    expected = {Level.ON: on, Level.BLOCK: (Action.RESET, 0, None)}.get(level, (Action.SKIP, 0, None))
    action, rule = trace(rules, packet)
    port, to = (rule.port, rule.to) if rule and action is Action.REDIRECT else (0, None)
    if (action, port, to) != expected:
        way = "in" if packet.hook == "prerouting" else "out"
        yield f"tcp {way} to {packet.destination} port {packet.port} is not as the level {level.value} has it"


def _untouchable(spec: RedirectSpec, around: Around) -> Iterator[tuple[Packet, str]]:
    ssh = spec.ssh_ports | around.sshd | {SSH_PORT}
    for address in spec.addresses:
        for port in sorted(ssh):
            yield _in(address, port), f"SSH on {address} port {port}"
        for port in sorted(spec.inbound_except.ports)[:_SOME]:
            yield _in(address, port), f"the excepted {address} port {port}"
        for port in sorted({*ssh, *spec.ports}):
            yield _in(address, port, _LOOPBACK), f"this host's own way to {address} port {port}"
            yield _out(address, port, _LOOPBACK), f"this host's own way to {address} port {port}"
    for packet in _abroad(spec, spec.proxy_uid):
        yield packet, f"the proxy's own connection to {packet.destination}"
    for address, port in spec.exempt:
        yield _out(address, port or _ANY), f"the exempt destination {address} port {port or 'any'}"
    yield from _lifelines(spec, around)


def _lifelines(spec: RedirectSpec, around: Around) -> Iterator[tuple[Packet, str]]:
    """Where it was asked for, a resolver or a gateway is redirected like every other host."""
    if spec.outbound is Outbound.ALL:
        return
    for kind, addresses, port in (("resolver", around.resolvers, _DNS), ("gateway", around.gateways, _ANY)):
        for address in sorted(addresses, key=str):
            if not any(address in network for network in spec.networks):
                yield _out(address, port), f"the {kind} {address}"


def _declared(spec: RedirectSpec) -> Iterator[Packet]:
    ports = spec.ports - spec.inbound_except.ports - spec.ssh_ports - spec.own_ports
    if spec.inbound is not Inbound.OFF:
        yield from (_in(address, port) for address in spec.addresses for port in sorted(ports))


def _abroad(spec: RedirectSpec, uid: int | None = None) -> Iterator[Packet]:
    """One packet into each network that is redirected, to where nothing is exempt."""
    networks = {Outbound.NETWORKS: spec.networks, Outbound.OFF: ()}.get(spec.outbound, _ELSEWHERE)
    if spec.outbound is Outbound.UIDS and uid is None:
        uid = next(iter(spec.uids - spec.outbound_except.uids - {spec.proxy_uid}), None)
        networks = networks if uid is not None else ()
    port = next((port for port in (_ANY, 80, 443) if port not in spec.outbound_except.ports), None)
    for network in networks:
        address = _plain(spec, network)
        if port is not None and address is not None and network.version in spec.families:
            yield _out(address, port, uid=uid)


def _plain(spec: RedirectSpec, network: Network) -> Address | None:
    """An address in it that is neither exempt nor excepted; None: none of the first few."""
    exempt = {address for address, _ in spec.exempt}
    for i in range(min(network.num_addresses, len(exempt) + _SOME)):
        if network[i] not in exempt and not any(network[i] in e for e in spec.outbound_except.networks):
            return network[i]
    return None


def _in(address: Address, port: int, interface: str = _WIRE) -> Packet:
    return Packet("prerouting", interface, address, port)


def _out(address: Address, port: int, interface: str = _WIRE, uid: int | None = None) -> Packet:
    return Packet("output", interface, address, port, uid=uid)
