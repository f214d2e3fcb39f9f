"""The self-test: no problem in rules as generated, of any specification; a problem in every other."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given

from agent.core.facts import Level
from agent.core.redirect import Action, Chain, Match, RedirectSpec, Rule, Ruleset, refused_ports, ruleset
from agent.core.redirect.selftest import Around, harms, misses
from tests.core.redirects import BOTH, settable, specs

NOTHING = Around()


def rules(spec: RedirectSpec, inbound: Level = Level.ON, outbound: Level = Level.ON) -> Ruleset:
    found = ruleset(spec, inbound, outbound)
    assert found is not None
    return found


@given(specs, settable, settable)
def test_rules_as_they_are_made_pass(spec: RedirectSpec, inbound: Level, outbound: Level) -> None:
    if refused_ports(spec, ()):  # such a specification is refused before
        return
    found = rules(spec, inbound, outbound)
    assert list(harms(spec, found, NOTHING)) == []
    assert list(misses(spec, found, inbound, outbound)) == []


def changed(found: Ruleset, chain: str, *more: Rule, without: str = "?") -> Ruleset:
    """`more` in front of the chain's rules, and none whose name begins with `without`."""

    def edit(one: Chain) -> Chain:
        kept = tuple(rule for rule in one.rules if not rule.name.startswith(without))
        return replace(one, rules=(*more, *kept))

    return replace(found, chains=tuple(edit(one) if one.name == chain else one for one in found.chains))


SSH = Rule("ssh", Match(ports=frozenset({22})), Action.REDIRECT, 4143)
ALL_IN = Rule("all", Match(opens=True), Action.REDIRECT, 4143)
ALL_OUT = Rule("all", Match(opens=True), Action.REDIRECT, 4140)


@pytest.mark.parametrize(
    ("chain", "rule", "what"),
    [
        ("inbound", SSH, "SSH on 192.0.2.10 port 22"),
        ("inbound", ALL_IN, "this host's own way to 192.0.2.10 port 22"),
        ("inbound_block", replace(ALL_IN, action=Action.RESET), "SSH on 2001:db8::10 port 22"),
        ("outbound", ALL_OUT, "the proxy's own connection to 10.42.0.0"),
        ("outbound", ALL_OUT, "the exempt destination 10.42.0.1 port 6443"),
        ("outbound", ALL_OUT, "the resolver 192.0.2.53"),
        ("outbound", ALL_OUT, "the gateway 192.0.2.1"),
        ("outbound_block", replace(ALL_OUT, action=Action.RESET), "this host's own way to 192.0.2.10 port 8080"),
    ],
)
def test_harm_is_named(chain: str, rule: Rule, what: str) -> None:
    around = Around(resolvers=frozenset({ip_address("192.0.2.53")}), gateways=frozenset({ip_address("192.0.2.1")}))
    assert list(harms(BOTH, rules(BOTH), around)) == []
    found = list(harms(BOTH, changed(rules(BOTH), chain, rule), around))
    assert any(each.startswith(f"{what} meets the rule") for each in found), found


def test_sshd_on_another_port_is_a_way_in_too() -> None:
    found = list(harms(BOTH, rules(BOTH), Around(sshd=frozenset({8080}))))
    assert found and all("port 8080" in each for each in found)


def test_a_resolver_in_the_cluster_is_redirected_as_asked() -> None:
    inside = Around(resolvers=frozenset({ip_address("10.43.0.10")}))
    assert list(harms(BOTH, rules(BOTH), inside)) == []


@pytest.mark.parametrize(
    ("chain", "without", "what"),
    [
        ("inbound", "inbound: declared ports, IPv6", "tcp in to 2001:db8::10 port 5432"),
        ("outbound", "outbound: cluster networks, IPv4", "tcp out to 10.42.0.0 port 9"),
    ],
)
def test_what_is_missed_is_named(chain: str, without: str, what: str) -> None:
    found = list(misses(BOTH, changed(rules(BOTH), chain, without=without), Level.ON, Level.ON))
    assert found and found[0].startswith(what)


def test_a_redirect_to_another_port_is_none() -> None:
    other = replace(BOTH, inbound_listener=4999)
    assert list(misses(BOTH, rules(other), Level.ON, Level.ON))


def test_networks_that_are_exempt_as_a_whole_prove_nothing_and_disprove_nothing() -> None:
    spec = replace(BOTH, networks=(ip_network("10.43.0.9/32"),))
    assert list(misses(spec, rules(spec), Level.ON, Level.ON)) == []
