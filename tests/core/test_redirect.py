"""Which packets are redirected, and the level of live rules."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings

from agent.core.facts import Level
from agent.core.redirect import (
    Action,
    Chain,
    Inbound,
    Match,
    Outbound,
    RedirectSpec,
    Rule,
    Ruleset,
    levels,
    refused_ports,
    ruleset,
    settle,
)
from agent.core.redirect.trace import Packet, trace
from tests.core.redirects import BOTH, PROXY, SETTABLE, expected, hit, packets, settable, specs

OFF, RELEASED, BLOCK, ON = Level.OFF, *SETTABLE


def decides(rules: Ruleset | None, packet: Packet) -> tuple[Action, int]:
    action, rule = trace(rules, packet)
    return action, rule.port if rule else 0


# packets -------------------------------------------------------------------------------------------


def inbound(address: str = "192.0.2.10", port: int = 8080, interface: str = "eth0", opens: bool = True) -> Packet:
    return Packet("prerouting", interface, ip_address(address), port, opens=opens)


def outbound(address: str, port: int = 80, uid: int = 1000, interface: str = "eth0", opens: bool = True) -> Packet:
    return Packet("output", interface, ip_address(address), port, uid=uid, opens=opens)


@pytest.mark.parametrize("level", SETTABLE)
@pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"])
@pytest.mark.parametrize("port", [5432, 8080, 8081])
def test_what_opens_a_connection_to_a_declared_port_goes_to_the_inbound_listener(
    level: Level, address: str, port: int
) -> None:
    assert decides(ruleset(BOTH, level, RELEASED), inbound(address, port)) == hit(level, 4143)


@pytest.mark.parametrize("level", SETTABLE)
@pytest.mark.parametrize(
    "address", ["10.42.255.255", "10.43.0.1", "10.43.191.1", "10.44.7.7", "fd42::7", "fd43::7"]
)
def test_what_opens_a_connection_to_the_cluster_goes_to_the_outbound_listener(level: Level, address: str) -> None:
    assert decides(ruleset(BOTH, RELEASED, level), outbound(address)) == hit(level, 4140)


@pytest.mark.parametrize("level", SETTABLE)
@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(inbound(port=22), id="ssh"),
        pytest.param(inbound(port=9000), id="undeclared port"),
        pytest.param(inbound(port=4143), id="the proxy's own port"),
        pytest.param(inbound("192.0.2.11"), id="another address of this host"),
        pytest.param(inbound("2001:db8::11"), id="another IPv6 address of this host"),
        pytest.param(inbound(interface="lo"), id="this host to its own address"),
        pytest.param(inbound("2001:db8::10", interface="lo"), id="this host to its own IPv6 address"),
        pytest.param(inbound("127.0.0.1", interface="lo"), id="loopback"),
        pytest.param(inbound(opens=False), id="a stream that is open"),
        pytest.param(replace(inbound(), protocol="udp"), id="udp in"),
        pytest.param(outbound("10.42.0.2", uid=PROXY), id="the proxy to the cluster"),
        pytest.param(outbound("fd42::2", uid=PROXY), id="the proxy to the cluster, IPv6"),
        pytest.param(outbound("10.42.0.1", 6443), id="exempt endpoint"),
        pytest.param(outbound("fd42::1", 6443), id="exempt IPv6 endpoint"),
        pytest.param(outbound("10.43.0.9", 1), id="exempt address"),
        pytest.param(outbound("fd42::9", 1), id="exempt IPv6 address"),
        pytest.param(outbound("198.51.100.1"), id="another network"),
        pytest.param(outbound("10.43.192.1"), id="just outside a network"),
        pytest.param(outbound("10.42.0.2", interface="lo"), id="this host to itself at a cluster's address"),
        pytest.param(outbound("127.0.0.1", interface="lo"), id="loopback out"),
        pytest.param(outbound("10.42.0.2", opens=False), id="an outbound stream that is open"),
        pytest.param(replace(outbound("10.42.0.2"), protocol="udp"), id="udp out"),
    ],
)
def test_what_is_none_of_ours_is_left_alone_at_every_level(level: Level, packet: Packet) -> None:
    assert decides(ruleset(BOTH, level, level), packet) == (Action.SKIP, 0)


def test_where_the_proxy_may_dial_every_port_no_guard_refuses_it() -> None:
    """SSH's port is among the control plane's: no excepted port is left, and a rule without ports meets all."""
    spec = RedirectSpec(proxy_uid=PROXY, inbound=Inbound.ALL, control_ports=frozenset({22}))
    here = ip_address("10.0.0.1")
    packet = Packet("output", "lo", here, 8080, uid=PROXY, source=here)
    action, _ = trace(ruleset(spec, Level.BLOCK, Level.RELEASED), packet)
    assert action is Action.SKIP


def test_only_the_port_of_an_exempt_endpoint_is_exempt() -> None:
    rules = ruleset(BOTH, RELEASED, ON)
    assert decides(rules, outbound("10.42.0.1", 6444)) == (Action.REDIRECT, 4140)


@given(specs, settable, settable, packets)
@settings(max_examples=50)
def test_any_packet_under_any_rules(spec: RedirectSpec, into: Level, out: Level, packet: Packet) -> None:
    """The whole of it said a second time, by cases instead of rules."""
    assert decides(ruleset(spec, into, out), packet) == expected(spec, into, out, packet)


def test_there_is_no_rule_of_a_family_that_the_workload_has_no_address_of() -> None:
    spec = replace(BOTH, addresses=BOTH.addresses[:1])
    rules = ruleset(spec, ON, ON)
    assert rules is not None
    networks = [network for chain in rules.chains for rule in chain.rules for network in rule.match.networks]
    assert {network.version for network in networks} == {4}


def test_the_deciding_rule_is_named() -> None:
    action, rule = trace(ruleset(BOTH, ON, ON), outbound("10.43.0.9"))
    assert action is Action.SKIP
    assert rule is not None
    assert rule.name == "outbound: exempt, port any, IPv4"


def test_the_redirect_stands_before_other_owners_chains_and_the_block_before_it() -> None:
    """Docker translates at dstnat, -100; connection tracking comes at -200."""
    rules = ruleset(BOTH, ON, ON)
    assert rules is not None
    priorities = {chain.name: chain.priority for chain in rules.chains}
    assert -200 < priorities["inbound_block"] < priorities["inbound"] < -100
    assert -200 < priorities["outbound_block"] < priorities["outbound"] < -100


# what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ports", "sshd", "refused"),
    [({8080}, (), set()), ({22, 8080}, (), {22}), ({8080, 2222}, (2222, 22), {2222}), ({1}, (22, 2222), set())],
)
def test_an_operators_way_in_is_refused(ports: set[int], sshd: tuple[int, ...], refused: set[int]) -> None:
    assert refused_ports(replace(BOTH, ports=frozenset(ports)), sshd) == refused


@pytest.mark.parametrize("uid", [0, -1])
def test_no_exempt_user_or_root_is_no_specification(uid: int) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RedirectSpec(proxy_uid=uid)


# levels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("into", [OFF, *SETTABLE])
@pytest.mark.parametrize("out", [OFF, *SETTABLE])
def test_rules_amount_to_the_levels_that_they_were_made_for(into: Level, out: Level) -> None:
    assert levels(BOTH, ruleset(BOTH, into, out)) == settle(into, out)


@given(specs, settable, settable)
@settings(max_examples=40)
def test_so_do_those_of_any_specification(spec: RedirectSpec, into: Level, out: Level) -> None:
    assert levels(spec, ruleset(spec, into, out)) == (into, out)


@pytest.mark.parametrize(
    ("asked", "settled"),
    [
        ((OFF, OFF), (OFF, OFF)),
        ((OFF, ON), (RELEASED, ON)),
        ((BLOCK, OFF), (BLOCK, RELEASED)),
        ((RELEASED, OFF), (RELEASED, RELEASED)),
        ((ON, BLOCK), (ON, BLOCK)),
    ],
)
def test_off_is_for_the_whole_table(asked: tuple[Level, Level], settled: tuple[Level, Level]) -> None:
    assert settle(*asked) == settled


def test_partial_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="partial"):
        ruleset(BOTH, Level.PARTIAL, ON)


def live(into: Level = ON, out: Level = ON, spec: RedirectSpec = BOTH) -> Ruleset:
    rules = ruleset(spec, into, out)
    assert rules is not None
    return rules


def changed(chain: str, **changes: object) -> Ruleset:
    """What `live()` gives, with one chain changed."""
    rules = live()
    chains = (replace(c, **changes) if c.name == chain else c for c in rules.chains)  # type: ignore[arg-type]
    return replace(rules, chains=tuple(chains))


def rules_of(name: str) -> tuple[Rule, ...]:
    return next(chain.rules for chain in live().chains if chain.name == name)


STRAY = Rule("", Match(ports=frozenset({25})), Action.RESET)
PARTIAL = Level.PARTIAL


@pytest.mark.parametrize(
    ("seen", "amounts_to"),
    [
        pytest.param(changed("inbound", rules=rules_of("inbound")[:-1]), (PARTIAL, ON), id="missing"),
        pytest.param(changed("inbound", rules=()), (PARTIAL, ON), id="all missing"),
        pytest.param(changed("outbound", rules=(*rules_of("outbound"), STRAY)), (ON, PARTIAL), id="extra"),
        pytest.param(changed("outbound", rules=rules_of("outbound")[::-1]), (ON, PARTIAL), id="order"),
        pytest.param(changed("outbound_block", rules=(STRAY,)), (ON, PARTIAL), id="both"),
        pytest.param(changed("inbound", priority=-90), (PARTIAL, ON), id="priority"),
        pytest.param(changed("inbound", policy="drop"), (PARTIAL, ON), id="policy"),
        pytest.param(changed("tracking", rules=()), (PARTIAL, PARTIAL), id="not tracked"),
        pytest.param(replace(live(), foreign=("a set",)), (PARTIAL, PARTIAL), id="foreign"),
        pytest.param(
            replace(live(), chains=(*live().chains, Chain("z", "filter", "input", 0))),
            (PARTIAL, PARTIAL),
            id="chain",
        ),
        pytest.param(Ruleset(()), (PARTIAL, PARTIAL), id="an empty table"),
        pytest.param(live(spec=replace(BOTH, ports=frozenset({5432}))), (PARTIAL, ON), id="other ports"),
        pytest.param(live(spec=replace(BOTH, proxy_uid=7)), (PARTIAL, PARTIAL), id="other uid"),
        pytest.param(live(spec=replace(BOTH, exempt=BOTH.exempt[1:])), (ON, PARTIAL), id="other exemptions"),
        pytest.param(live(spec=replace(BOTH, inbound_listener=4144)), (PARTIAL, ON), id="other listener"),
        pytest.param(live(spec=replace(BOTH, addresses=BOTH.addresses[:1])), (PARTIAL, PARTIAL), id="no IPv6"),
        pytest.param(
            live(BLOCK, BLOCK, replace(BOTH, networks=(ip_network("10.42.0.0/15"),))),
            (BLOCK, PARTIAL),
            id="network",
        ),
    ],
)
def test_anything_else_is_partial(seen: Ruleset, amounts_to: tuple[Level, Level]) -> None:
    assert levels(BOTH, seen) == amounts_to


def test_a_rule_is_what_it_does_and_not_what_it_is_called() -> None:
    renamed = tuple(replace(rule, name="?") for rule in rules_of("inbound"))
    assert levels(BOTH, changed("inbound", rules=renamed)) == (ON, ON)


def test_the_guard_stands_alone_where_the_redirect_is_off_and_peers_dial_the_proxy() -> None:
    off = replace(BOTH, inbound=Inbound.OFF, outbound=Outbound.OFF)
    found = ruleset(off, Level.RELEASED, Level.RELEASED)
    assert found is not None
    assert {chain.name for chain in found.chains if chain.rules} == {"guard", "tracking"}
    assert levels(off, found) == (Level.RELEASED, Level.RELEASED)
    older = ruleset(replace(off, guarded=False), Level.RELEASED, Level.RELEASED)
    assert levels(off, older) == (Level.PARTIAL, Level.RELEASED)
