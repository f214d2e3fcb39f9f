"""The rules of a host with two slots: what they do with packets, and how nft has them, for both IP versions."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any

import pytest

from agent.cli.kit.rules import line as told
from agent.core.facts import Level
from agent.core.redirect import Action, Network, Outbound, RedirectSpec, Ruleset, levels, nft, ruleset, selftest
from agent.core.redirect.trace import Packet, trace
from agent.core.slots import NETWORKS, Slot, places
from agent.privileged.redirect import specification
from tests.core.redirects import BOTH, SETTABLE

ON, RESET, SKIP, DROP = Level.ON, Action.RESET, Action.SKIP, Action.DROP
PEER = "(any)"


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def spec(version: int, slot: Slot = Slot.MAIN, network: Network | None = None) -> RedirectSpec:
    one = replace(BOTH, addresses=tuple(one for one in BOTH.addresses if one.version == version))
    return specification.named(one, places(network or NETWORKS[version])[slot])


def rules(spec: RedirectSpec, into: Level = ON, out: Level = ON) -> Ruleset:
    found = ruleset(spec, into, out)
    assert found is not None
    return found


def listing(found: Ruleset) -> Any:
    commands = nft.transaction(found)["nftables"]
    assert isinstance(commands, list)
    return {"nftables": [command["add"] for command in commands[2:]]}


def test_what_is_written_is_read_as_the_same_and_is_of_this_slot_alone(version: int) -> None:
    for slot, into, out in product(Slot, SETTABLE, SETTABLE):
        own, (other,) = spec(version, slot), set(Slot) - {slot}
        found = nft.read(listing(rules(own, into, out)))
        assert found == rules(own, into, out)
        assert levels(own, found) == (into, out)
        assert levels(spec(version, other), found)[0] is Level.PARTIAL


def test_a_translation_to_a_slot_names_the_ip_version_of_its_address(version: int) -> None:
    """As nft 0.9.8 needs it."""
    lines = [json.dumps(entry) for entry in listing(rules(spec(version)))["nftables"]]
    family, at = {4: "ip", 6: "ip6"}[version], places(NETWORKS[version])[Slot.MAIN].address
    translations = [line for line in lines if '"dnat"' in line]
    assert len(translations) == 2, "of the declared ports, and of the inbound port itself"
    for line in translations:
        assert f'{{"dnat": {{"family": "{family}", "addr": "{at}", "port": 4143}}}}' in line
        assert f'"payload": {{"protocol": "{family}", "field": "daddr"}}' in line


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another address": lambda dnat: dnat.update(addr=str(ip_address(dnat["addr"]) + 7)),
    "a name": lambda dnat: dnat.update(addr="db.example"),
    "another family": lambda dnat: dnat.update(family="ip6" if dnat["family"] == "ip" else "ip"),
    "no family": lambda dnat: dnat.pop("family"),
    "a flag": lambda dnat: dnat.update(flags="random"),
}


@pytest.mark.parametrize("name", EDITS)
def test_another_translation_is_another_rule(version: int, name: str) -> None:
    found = copy.deepcopy(listing(rules(spec(version))))
    (rule,) = [
        one["rule"] for one in found["nftables"] if "inbound: declared" in one.get("rule", {}).get("comment", "")
    ]
    EDITS[name](rule["expr"][-1]["dnat"])
    assert levels(spec(version), nft.read(found))[0] is Level.PARTIAL


def test_what_becomes_of_packets(version: int) -> None:
    for slot, level in product(Slot, SETTABLE):
        own = spec(version, slot)
        (address,), at = own.addresses, own.inbound_at
        assert at is not None

        def meets(
            to: object, port: int, way: str = PEER, own: RedirectSpec = own, level: Level = level
        ) -> tuple[Action, object]:
            action, rule = trace(rules(own, level), Packet("prerouting", way, ip_address(str(to)), port))
            return action, rule.to if rule and action is Action.REDIRECT else None

        declared = {ON: (Action.REDIRECT, at), Level.BLOCK: (RESET, None)}.get(level, (SKIP, None))
        assert meets(address, 8080) == declared
        assert meets(address, 4143) == (Action.REDIRECT, at), "peers dial it at every level"
        assert meets(address, 22) == (SKIP, None)
        for outside in (4143, 22, 8080):
            assert meets(at, outside) == (DROP, None)
        assert {meets(to, 4143, "lo") for to in (at, address)} == {(SKIP, None)}


def test_the_self_test_finds_nothing_to_say_and_everything_that_is_missing(version: int) -> None:
    for slot, level in product(Slot, SETTABLE):
        own = spec(version, slot)
        found = rules(own, level)
        assert not list(selftest.misses(own, found, level, ON))
        assert not list(selftest.harms(own, found, selftest.Around()))
        for name in ("direct", "slots"):
            less = Ruleset(tuple(replace(c, rules=()) if c.name == name else c for c in found.chains))
            assert list(selftest.misses(own, less, level, ON))
        (other,) = set(Slot) - {slot}
        assert list(selftest.misses(spec(version, other), found, level, ON))


def test_a_refusal_is_dropped_for_the_network_of_the_slots_alone(version: int) -> None:
    network = {4: ip_network("169.254.7.0/24"), 6: ip_network("fd12:3456:789a::/64")}[version]
    (chain,) = [one for one in rules(spec(version, network=network)).chains if one.name == "unheard"]
    assert [rule.match.sources for rule in chain.rules] == [(network,)]


def test_a_refusal_of_the_outbound_listener_is_dropped_while_outbound_is_on(version: int) -> None:
    """Of the slot that is named, and of no other program on loopback."""
    for slot, into, out in product(Slot, SETTABLE, SETTABLE):
        (chain,) = [one for one in rules(spec(version, slot), into, out).chains if one.name == "outbound_unheard"]
        at, port = {4: "127.0.0.1/32", 6: "::1/128"}[version], 4140 if slot is Slot.MAIN else 4142
        wanted = f"tcp that refuses a connection, from {at}, from port {port} → dropped"
        assert [told(rule).split(": ")[1] for rule in chain.rules] == ([wanted] if out is ON else [])


def test_where_nothing_goes_out_no_refusal_is_dropped(version: int) -> None:
    for nothing in (replace(spec(version), networks=()), replace(spec(version), outbound=Outbound.OFF)):
        (chain,) = [one for one in rules(nothing).chains if one.name == "outbound_unheard"]
        assert not chain.rules
