"""Rules to nftables' JSON and back: as recorded from nft and as other versions spell it."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from agent.core.facts import Level
from agent.core.redirect import RedirectSpec, Ruleset, levels, nft, ruleset, timed
from tests.core.redirects import BOTH, settable, specs

VERSIONS = ("0.9.8", "1.0.6", "1.1.3", "1.1.7")


def recorded(name: str) -> Any:
    return json.loads((Path(__file__).parent / f"recorded/nft-{name}.json").read_text())


RECORDED: dict[str, Any] = recorded("1.0.6")
ON, PARTIAL = Level.ON, Level.PARTIAL


def listing(rules: Ruleset) -> Any:
    """What a program that changes nothing would read back from the transaction."""
    commands = nft.transaction(rules)["nftables"]
    assert isinstance(commands, list)
    return {"nftables": [command["add"] for command in commands[2:]]}


@given(specs, settable, settable)
@settings(max_examples=30)
def test_what_is_written_is_read_as_the_same(spec: RedirectSpec, into: Level, out: Level) -> None:
    rules = ruleset(spec, into, out)
    assert rules is not None
    assert nft.read(listing(rules)) == rules


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RECORDED)
def test_what_nft_made_of_it_is_read_as_the_same(name: str, version: str) -> None:
    into, out = map(Level, name.split("/"))
    found = nft.read(recorded(version)[name])
    spec = replace(BOTH, guarded=into is not Level.RELEASED)  # as they were recorded
    assert found == ruleset(spec, into, out)
    assert levels(spec, found) == (into, out)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_nft_made_of_a_trial_is_read_as_the_same(version: str) -> None:
    found = timed.read(recorded(f"{version}-trial"))
    assert found.rules == ruleset(BOTH, ON, Level.BLOCK)
    assert found.trial is not None and 0 < (found.trial.left or 0) <= 30
    assert found.trial.before == ruleset(BOTH, Level.BLOCK, Level.RELEASED)


def test_each_translation_of_the_port_names_the_ip_version_of_its_addresses() -> None:
    """nft 0.9.8 adds no family; the kernel refuses the rule ("Protocol error")."""
    text = [json.dumps(entry) for entry in listing(ruleset(BOTH, ON, ON) or Ruleset(()))["nftables"]]
    translations = [line for line in text if '"dnat"' in line]
    assert len(translations) == 2
    for line, protocol in zip(translations, ("ip", "ip6"), strict=True):
        assert f'{{"dnat": {{"family": "{protocol}", "port": 4143}}}}' in line
        assert f'"payload": {{"protocol": "{protocol}", "field": "daddr"}}' in line


@pytest.mark.parametrize(("family", "level"), [("ip", ON), ("ip6", PARTIAL), ("inet", PARTIAL)])
def test_a_translation_for_another_ip_version_is_another_rule(family: str, level: Level) -> None:
    def edit(entries: list[dict[str, Any]]) -> None:
        rule(entries, IN4)["expr"][-1]["dnat"]["family"] = family

    assert levels(BOTH, edited(edit)) == (level, ON)


def conditions(rule: Any) -> str:
    return json.dumps(rule["expr"][:-1])


CASES = sorted((Path(__file__).parents[1] / "cases").glob("nft117-trial-*.json"))


def test_cases_of_rules_that_nft_1_1_refuses_are_none_of_ours() -> None:
    """Each has the protocol in a set, and what asks for TCP after it."""
    commands = timed.transaction(
        ruleset(BOTH, ON, ON) or Ruleset(()), ruleset(BOTH, Level.BLOCK, ON) or Ruleset(()), 9
    )
    assert isinstance(commands["nftables"], list)
    rules = [command["add"]["rule"] for command in commands["nftables"] if "rule" in command.get("add", {})]
    refused = [
        c["add"]["rule"] for path in CASES for c in json.loads(path.read_text())["nftables"] if "rule" in str(c)
    ]
    assert len(refused) == 5
    for rule in refused:
        assert '"l4proto"' in conditions(rule)
    for rule in rules:
        assert '"l4proto"' not in conditions(rule)
        if "reject" in rule["expr"][-1] or "redirect" in rule["expr"][-1] or "dnat" in rule["expr"][-1]:
            assert '"protocol": "tcp"' in conditions(rule)


def test_off_deletes_the_table_whether_or_not_there_is_one() -> None:
    table = {"table": {"family": "inet", "name": "fairlead"}}
    assert nft.transaction(None) == {"nftables": [{"add": table}, {"delete": table}]}


@pytest.mark.parametrize("text", ["[]", "{}", '{"nftables": {}}', "null"])
def test_no_listing_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a listing"):
        nft.read(json.loads(text))


# other spellings of the same, and the same with something else in it ---------------------------------


def edited(edit: Callable[[list[dict[str, Any]]], None]) -> Ruleset:
    """ON/ON as recorded, after `edit` of the entries."""
    found = copy.deepcopy(RECORDED["on/on"])
    edit(found["nftables"])
    return nft.read(found)


def rule(entries: list[dict[str, Any]], comment: str) -> dict[str, Any]:
    found: dict[str, Any] = next(e["rule"] for e in entries if e.get("rule", {}).get("comment") == comment)
    return found


def chain(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(e["chain"] for e in entries if e.get("chain", {}).get("name") == name)
    return found


def condition(entries: list[dict[str, Any]], comment: str, index: int) -> dict[str, Any]:
    found: dict[str, Any] = rule(entries, comment)["expr"][index]["match"]
    return found


IN4, OUT4 = "inbound: declared ports, IPv4", "outbound: cluster networks, IPv4"
FLAGS = {"payload": {"protocol": "tcp", "field": "flags"}}


@pytest.mark.parametrize(
    ("mask", "value"),
    [
        (["fin", "syn", "rst", "ack"], "syn"),
        ({"|": ["ack", "rst", "syn", "fin"]}, "syn"),
        ({"|": [{"|": [{"|": ["fin", "syn"]}, "rst"]}, "ack"]}, ["syn"]),
        (23, 2),
    ],
)
def test_flags_are_spelt_in_many_ways(mask: object, value: object) -> None:
    def edit(entries: list[dict[str, Any]]) -> None:
        condition(entries, IN4, 2).update(left={"&": [FLAGS, mask]}, right=value)

    assert levels(BOTH, edited(edit)) == (ON, ON)


@pytest.mark.parametrize(
    ("mask", "value"),
    [
        (["fin", "syn", "rst"], "syn"),
        (["syn"], "syn"),
        (["fin", "syn", "rst", "ack", "ecn"], "syn"),
        (["fin", "syn", "rst", "ack"], ["syn", "ack"]),
        (None, None),
    ],
)
def test_other_flags_are_another_rule(mask: object, value: object) -> None:
    def edit(entries: list[dict[str, Any]]) -> None:
        condition(entries, IN4, 2).update(left={"&": [FLAGS, mask]}, right=value)

    assert levels(BOTH, edited(edit)) == (PARTIAL, ON)


@pytest.mark.parametrize(
    "networks",
    [
        ["10.42.0.0/16", "10.43.0.0/17", "10.43.128.0/18", "10.44.7.7/32"],
        [{"range": ["10.43.0.0", "10.43.191.255"]}, {"range": ["10.42.0.0", "10.42.255.255"]}, "10.44.7.7"],
        [{"range": ["10.42.0.0", "10.43.191.255"]}, {"prefix": {"addr": "10.44.7.7", "len": 32}}],
    ],
)
def test_networks_are_spelt_in_many_ways(networks: list[object]) -> None:
    def edit(entries: list[dict[str, Any]]) -> None:
        condition(entries, OUT4, 0)["right"] = {"set": networks}

    assert levels(BOTH, edited(edit)) == (ON, ON)


@pytest.mark.parametrize("networks", ["@somebody", {"set": []}, {"set": ["fd42::/64"]}, "10.42.0.0/15", 7, None])
def test_other_networks_are_another_rule(networks: object) -> None:
    def edit(entries: list[dict[str, Any]]) -> None:
        condition(entries, OUT4, 0)["right"] = networks

    assert levels(BOTH, edited(edit)) == (ON, PARTIAL)


@pytest.mark.parametrize("ports", [[8081, 5432, 8080], [5432, {"range": [8080, 8081]}]])
def test_ports_are_spelt_in_many_ways(ports: list[object]) -> None:
    def edit(entries: list[dict[str, Any]]) -> None:
        condition(entries, IN4, 1)["right"] = {"set": ports}

    assert levels(BOTH, edited(edit)) == (ON, ON)


@pytest.mark.parametrize("count", [{"packets": 0, "bytes": 0}, {"packets": 7, "bytes": 420}])
def test_what_a_rule_has_met_does_not_change_it(count: dict[str, int]) -> None:
    def edit(entries: list[dict[str, Any]]) -> None:
        rule(entries, IN4)["expr"].insert(3, {"counter": count})

    assert levels(BOTH, edited(edit)) == (ON, ON)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda e: rule(e, IN4)["expr"].insert(3, {"log": None}), id="something more"),
        pytest.param(lambda e: rule(e, IN4)["expr"].insert(0, rule(e, IN4)["expr"][0]), id="a condition twice"),
        pytest.param(lambda e: rule(e, IN4)["expr"].pop(2), id="not only SYN"),
        pytest.param(lambda e: rule(e, IN4)["expr"].pop(), id="no action"),
        pytest.param(lambda e: rule(e, IN4)["expr"].__setitem__(3, {"accept": None}), id="another action"),
        pytest.param(lambda e: rule(e, IN4)["expr"][3].update(dnat={"port": 4144}), id="another port"),
        pytest.param(
            lambda e: rule(e, IN4)["expr"][3].update(dnat={"port": 4143, "addr": "192.0.2.1"}),
            id="another address",
        ),
        pytest.param(lambda e: condition(e, IN4, 0).update(op="!="), id="the contrary"),
        pytest.param(lambda e: chain(e, "inbound").update(policy="drop"), id="another policy of its chain"),
        pytest.param(
            lambda e: condition(e, IN4, 0)["left"]["payload"].update(field="saddr"), id="where it comes from"
        ),
    ],
)
def test_a_changed_rule_is_another_rule(edit: Callable[[list[dict[str, Any]]], None]) -> None:
    assert levels(BOTH, edited(edit)) == (PARTIAL, ON)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda e: e[1]["table"].update(flags="dormant"), id="dormant"),
        pytest.param(
            lambda e: e.append({"set": {"family": "inet", "table": "fairlead", "name": "s"}}), id="a set"
        ),
        pytest.param(lambda e: e.append({"chain": {"name": "helper"}}), id="a chain without a hook"),
        pytest.param(lambda e: e.pop(2), id="a chain missing, its rules astray"),
    ],
)
def test_something_else_in_the_table_counts_against_both(edit: Callable[[list[dict[str, Any]]], None]) -> None:
    assert levels(BOTH, edited(edit)) == (PARTIAL, PARTIAL)
