"""Specifications that are refused, texts for people, and ports that containers publish."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings

from agent.core.facts import Level
from agent.core.redirect import (
    Action,
    Exceptions,
    Inbound,
    Outbound,
    RedirectSpec,
    Ruleset,
    caught_ports,
    levels,
    published,
    ruleset,
    swallowed,
)
from agent.core.redirect.spec import differences_from_guide, outbound_of
from agent.core.redirect.trace import Packet, explain, trace
from agent.core.redirect.walk import WIRE, Arrival
from tests.core.redirects import BOTH, PROXY, packets, settable, specs

ON, BLOCK = Level.ON, Level.BLOCK


def rules(spec: RedirectSpec = BOTH, into: Level = ON, out: Level = ON) -> Ruleset:
    found = ruleset(spec, into, out)
    assert found is not None
    return found


# never ---------------------------------------------------------------------------------------------


@given(specs, settable, settable, packets)
@settings(max_examples=30, deadline=None)
def test_nobody_is_cut_off(spec: RedirectSpec, into: Level, out: Level, packet: Packet) -> None:
    """Whatever is configured: SSH, loopback, the proxy's own way out, open connections, what is not TCP."""
    action, _ = trace(ruleset(spec, into, out), packet)
    never = (
        (packet.hook == "prerouting" and packet.port in spec.ssh_ports - spec.ports)
        or (packet.hook == "prerouting" and packet.interface == "lo")
        or (packet.hook == "output" and packet.interface == "lo" and packet.uid != spec.proxy_uid)
        or (packet.hook == "output" and packet.interface != "lo" and packet.uid == spec.proxy_uid)
        or (
            packet.hook == "output"
            and (packet.destination, packet.port) in spec.exempt
            and packet.interface != "lo"
        )
        or not packet.opens
        or packet.protocol != "tcp"
    )
    assert action is Action.SKIP or not never


@given(specs)
@settings(max_examples=30)
def test_caught_ports_are_those_that_packets_are_caught_at(spec: RedirectSpec) -> None:
    spec = replace(spec, inbound_except=replace(spec.inbound_except, networks=(), interfaces=frozenset()))
    caught = caught_ports(spec)
    for port in (1, 22, 80, 443, 4143, 4190, 65535) if spec.addresses else ():
        packets_ = [Packet("prerouting", "eth0", address, port) for address in spec.addresses]
        actions = {trace(ruleset(spec, ON, ON), packet)[0] for packet in packets_}
        assert (Action.REDIRECT in actions) is (port in caught)


def test_a_published_port_that_is_declared_is_caught_and_may_be_dialled_by_the_proxy() -> None:
    spec = replace(
        BOTH, inbound=Inbound.ALL, ports=frozenset({8080}), published=frozenset({(None, 8080), (None, 9443)})
    )
    assert 8080 in caught_ports(spec) and 9443 not in caught_ports(spec)
    for port, action in ((8080, Action.SKIP), (9443, Action.RESET), (9000, Action.SKIP)):
        packet = Packet("output", "lo", spec.addresses[0], port, uid=PROXY)
        assert trace(ruleset(spec, ON, ON), packet)[0] is action


@pytest.mark.parametrize(
    ("networks", "subnets", "found"),
    [
        (["10.0.0.0/8"], ["10.1.0.0/24"], [("10.0.0.0/8", "10.1.0.0/24")]),
        (["10.0.0.0/8"], ["10.0.0.0/8"], [("10.0.0.0/8", "10.0.0.0/8")]),
        (["10.0.0.0/16"], ["10.0.0.0/8"], []),
        (["10.0.0.0/8"], ["10.1.0.1/32", "192.0.2.0/24", "fd00::/64"], []),
        (["fd00::/8"], ["fd00::/64"], [("fd00::/8", "fd00::/64")]),
    ],
)
def test_a_network_that_holds_a_subnet_of_this_host(
    networks: list[str], subnets: list[str], found: list[tuple[str, str]]
) -> None:
    spec = replace(BOTH, networks=tuple(map(ip_network, networks)))
    pairs = [(str(network), str(subnet)) for network, subnet in swallowed(spec, map(ip_network, subnets))]
    assert pairs == found
    assert swallowed(replace(spec, outbound=Outbound.ALL), map(ip_network, subnets)) == ()


@pytest.mark.parametrize(
    ("change", "outward"),
    [
        ({}, True),
        ({"networks": ()}, False),
        ({"outbound": Outbound.OFF}, False),
        ({"outbound": Outbound.ALL, "networks": ()}, True),
        ({"outbound": Outbound.UIDS}, False),
        ({"outbound": Outbound.UIDS, "uids": frozenset({7})}, True),
    ],
)
def test_whether_anything_goes_out_by_the_proxy(change: dict[str, object], outward: bool) -> None:
    assert replace(BOTH, **change).outward is outward  # type: ignore[arg-type]


@pytest.mark.parametrize("written", [*Outbound])
def test_the_guides_mode_takes_everything_outbound_and_any_other_takes_what_is_written(written: Outbound) -> None:
    assert outbound_of("linkerd-guide", written.value) is Outbound.ALL
    assert outbound_of("declared", written.value) is outbound_of("off", written.value) is written


def test_another_choice_is_another_level() -> None:
    for change in (
        {"inbound": Inbound.ALL},
        {"inbound": Inbound.OFF},
        {"inbound_except": Exceptions(ports=frozenset({8080}))},
    ):
        spec = replace(BOTH, **change)
        assert levels(spec, rules()) == (Level.PARTIAL, ON)
    assert levels(replace(BOTH, outbound=Outbound.ALL), rules()) == (ON, Level.PARTIAL)


def test_what_differs_from_the_guide_is_said() -> None:
    published_ = frozenset({(None, 9443), (BOTH.addresses[1], 9444)})
    spec = replace(BOTH, inbound=Inbound.ALL, outbound=Outbound.ALL, published=published_)
    said = "\n".join(differences_from_guide(spec))
    for words in (
        "sshd's ports (22)",
        "9443, 2001:db8::10 port 9444",
        "10.42.0.1 port 6443",
        "10.43.0.9 port any",
        "IPv6 too",
        f"{PROXY}",
    ):
        assert words in said


# sentences -----------------------------------------------------------------------------------------

IN = Packet("prerouting", "eth0", ip_address("192.0.2.10"), 8080, source=ip_address("198.51.100.7"))
OUT = Packet("output", "eth0", ip_address("10.42.9.9"), 80, uid=1000, gid=100)


@pytest.mark.parametrize(
    ("spec", "into", "packet", "sentence"),
    [
        (BOTH, ON, IN, 'goes to the proxy on port 4143, by the rule "inbound: declared ports, IPv4"'),
        (BOTH, BLOCK, IN, 'is refused with a reset, by the rule "inbound: declared ports, IPv4"'),
        (BOTH, ON, replace(IN, port=9000), "is left alone: no rule speaks of it"),
        (BOTH, ON, replace(IN, opens=False), "is left alone: it belongs to a connection that is open"),
        (BOTH, ON, replace(IN, protocol="udp"), "is left alone: udp is never touched"),
        (BOTH, ON, OUT, 'goes to the proxy on port 4140, by the rule "outbound: cluster networks, IPv4"'),
        (BOTH, ON, replace(OUT, uid=PROXY), 'is left alone, by the rule "outbound: from the proxy"'),
        (
            replace(BOTH, outbound_except=Exceptions(gids=frozenset({100}))),
            ON,
            OUT,
            'is left alone, by the rule "outbound: excepted groups"',
        ),
        (
            replace(BOTH, inbound_except=Exceptions(networks=(ip_network("198.51.100.0/24"),))),
            ON,
            IN,
            'is left alone, by the rule "inbound: excepted networks, IPv4"',
        ),
        (
            replace(BOTH, inbound=Inbound.ALL),
            ON,
            replace(IN, port=22),
            'is left alone, by the rule "inbound: sshd\'s ports"',
        ),
        (
            BOTH,
            ON,
            Packet("output", "lo", ip_address("127.0.0.1"), 9000, uid=PROXY),
            'is refused with a reset, by the rule "guard: the proxy to an undeclared port"',
        ),
    ],
)
def test_what_is_explained(spec: RedirectSpec, into: Level, packet: Packet, sentence: str) -> None:
    assert explain(ruleset(spec, into, ON), packet) == sentence


def test_what_is_not_understood_decides_nothing() -> None:
    (chain,) = (chain for chain in rules().chains if chain.name == "inbound")
    strange = tuple(replace(rule, match=replace(rule.match, foreign=("xt",))) for rule in chain.rules)
    assert trace(Ruleset((replace(chain, rules=strange),)), IN) == (Action.SKIP, None)


def test_without_rules_that_is_the_reason() -> None:
    assert explain(None, IN) == "is left alone: there are no rules"


# containers ----------------------------------------------------------------------------------------


COMES = Arrival(WIRE, None, ip_address("192.0.2.10"), None, translated=False, hook="prerouting")
BESIDE = replace(COMES, destination=ip_address("192.0.2.11"))


def at(packet: Arrival, ports: set[int]) -> set[tuple[object, int]]:
    return {(packet.destination, port) for port in ports}


def test_what_is_published_at_one_address_is_caught_at_another() -> None:
    line = "-A PREROUTING -d 192.0.2.10/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80"
    found = published.from_iptables(f"*nat\n{line}\nCOMMIT\n", [COMES, BESIDE])
    assert found == at(COMES, {8080})
    addresses = (ip_address("192.0.2.10"), ip_address("192.0.2.11"))
    spec = replace(BOTH, inbound=Inbound.ALL, addresses=addresses, ports=frozenset(), published=found)
    for address, into, local in zip(addresses, ("SKIP", "REDIRECT"), ("RESET", "SKIP"), strict=True):
        assert trace(rules(spec), Packet("prerouting", "eth0", address, 8080))[0] is Action[into]
        assert trace(rules(spec), Packet("output", "lo", address, 8080, uid=PROXY))[0] is Action[local]


@pytest.mark.parametrize(("table", "ports"), [("netavark", {8443, 9000, 9001}), ("fairlead", set())])
def test_published_by_nft_and_not_by_us(table: str, ports: set[int]) -> None:
    listed = {"set": [8443, {"range": [9000, 9001]}]}
    match = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": listed}}
    here = {"family": "inet", "table": table}
    rule = {**here, "chain": "c", "expr": [match, {"dnat": {"port": 443}}]}
    chain = {**here, "name": "c", "type": "nat", "hook": "prerouting", "prio": -100}
    assert published.from_nft({"nftables": [{"chain": chain}, {"rule": rule}]}, [COMES]) == at(COMES, ports)


@pytest.mark.parametrize(
    ("line", "ports"),
    [
        ("-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8443 -j DNAT --to-destination 172.17.0.2:443", {8443}),
        ("-A NETAVARK-DN-1D8721804F16F -p tcp -m tcp --dport 9090 -j DNAT --to-destination 10.88.0.2:90", {9090}),
        ("-A CNI-DN-0 -p tcp -m multiport --dports 80,81:82 -j DNAT --to-destination 10.88.0.2:90", {80, 81, 82}),
        ("-A FAIRLEAD_IN -p tcp -m multiport --dports 8080 -j DNAT --to-destination :4143", set()),
        ("-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128", {80}),
    ],
)
def test_published_by_iptables(line: str, ports: set[int]) -> None:
    to = "" if "-A PREROUTING" in line else f"-A PREROUTING -j {line.split()[1]}\n"
    assert published.from_iptables(f"*nat\n{to}{line}\nCOMMIT\n", [COMES]) == at(COMES, ports)
    assert published.from_iptables(f"*mangle\n{to}{line}\nCOMMIT\n", [COMES]) == set()
