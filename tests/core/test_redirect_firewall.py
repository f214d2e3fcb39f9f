"""What the host's firewall does with 4143, for the rules of firewalld and manual ones."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from agent.core.redirect.firewall import Arrival, Verdict, input_verdict

ACCEPTED, REFUSED, UNKNOWN = Verdict
PEER = Arrival("eth0", ip_address("198.51.100.7"), ip_address("192.0.2.10"))
PEER6 = Arrival("eth0", ip_address("2001:db8::7"), ip_address("2001:db8::10"))


def base(policy: str, priority: int = 0, family: str = "inet", name: str = "input") -> dict[str, Any]:
    kind = {"type": "filter", "hook": "input", "prio": priority, "policy": policy}
    return {"chain": {"family": family, "table": "t", "name": name, **kind}}


def rule(*expressions: object, chain: str = "input", family: str = "inet") -> dict[str, Any]:
    return {"rule": {"family": family, "table": "t", "chain": chain, "expr": list(expressions)}}


def state(value: object) -> dict[str, Any]:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": value}}


def when(key: str, value: object, protocol: str = "tcp", op: str = "==") -> dict[str, Any]:
    meta = {"iifname": {"meta": {"key": key}}, "state": {"ct": {"key": "state"}}}
    left = meta.get(key, {"payload": {"protocol": protocol, "field": key}})
    return {"match": {"op": op, "left": left, "right": value}}


OPEN, SHUT = {"accept": None}, {"drop": None}
KNOWN = when("state", ["established", "related"], op="in")


@pytest.mark.parametrize(
    ("entries", "verdict"),
    [
        ([], ACCEPTED),
        ([base("drop")], REFUSED),
        ([base("accept")], ACCEPTED),
        ([base("drop"), rule(when("dport", 4143), OPEN)], ACCEPTED),
        ([base("drop"), rule(when("dport", 8080), OPEN)], REFUSED),
        ([base("drop"), rule(KNOWN, OPEN), rule(when("iifname", "lo"), OPEN)], REFUSED),
        ([base("drop"), rule(when("dport", {"set": [22, {"range": [4000, 5000]}]}), OPEN)], ACCEPTED),
        (
            [base("drop"), rule(when("saddr", {"prefix": {"addr": "198.51.100.0", "len": 24}}, "ip"), OPEN)],
            ACCEPTED,
        ),
        ([base("drop"), rule(when("saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}}, "ip"), OPEN)], REFUSED),
        ([base("drop"), rule(when("dport", 4143, op="!="), OPEN)], REFUSED),
        ([base("accept"), rule(when("iifname", "eth*"), {"reject": {"type": "icmpx"}})], REFUSED),
        # One chain's accept is its own alone.
        ([base("accept", -10, name="a"), rule(OPEN, chain="a"), base("drop")], REFUSED),
        ([base("drop", family="ip6")], ACCEPTED),
        ([base("drop", family="ip")], REFUSED),
        # jumps
        ([base("drop"), rule({"jump": {"target": "c"}}), rule(when("dport", 4143), OPEN, chain="c")], ACCEPTED),
        ([base("drop"), rule({"jump": {"target": "c"}}), rule({"return": None}, chain="c"), rule(OPEN)], ACCEPTED),
        ([base("drop"), rule({"goto": {"target": "c"}}), rule(OPEN)], REFUSED),
        # What may leave a chain may also stay in it.
        (
            [
                base("accept"),
                rule({"jump": {"target": "c"}}),
                rule({"xt": None}, {"return": None}, chain="c"),
                rule(SHUT, chain="c"),
            ],
            UNKNOWN,
        ),
        # A refusal is final, whatever another chain that is not understood would say.
        ([base("drop"), base("drop", 10, name="b"), rule({"xt": None}, OPEN)], REFUSED),
        # a later packet of the connection
        ([base("accept"), rule(state("established"), SHUT)], REFUSED),
        ([base("drop"), rule(state("new"), OPEN)], REFUSED),
        ([base("drop"), rule(state(["new", "established"]), OPEN)], ACCEPTED),
        # another zone of connection tracking: what is redirected is looked for in the wrong one
        ([base("accept", -300), rule({"mangle": {"key": {"ct": {"key": "zone"}}, "value": 1}})], UNKNOWN),
        ([base("accept", -300), rule({"mangle": {"key": {"ct": {"key": "mark"}}, "value": 1}})], ACCEPTED),
        # what is not understood
        ([base("drop"), rule({"xt": None}, OPEN)], UNKNOWN),
        ([base("drop"), rule({"xt": None}, SHUT)], REFUSED),
        ([base("accept"), rule({"xt": None}, SHUT)], UNKNOWN),
        ([base("accept"), rule(when("dport", 22), {"xt": None}, SHUT)], ACCEPTED),
        ([base("drop"), rule(when("saddr", "@peers", "ip"), OPEN)], UNKNOWN),
        ([base("drop"), rule(when("dport", 4143), OPEN), rule({"xt": None}, SHUT)], ACCEPTED),
    ],
)
def test_a_peer(entries: list[object], verdict: Verdict) -> None:
    assert input_verdict({"nftables": entries}, PEER) is verdict


def test_a_peer_by_ipv6() -> None:
    entries = [base("drop"), rule(when("saddr", "198.51.100.7", "ip"), OPEN)]
    assert input_verdict({"nftables": entries}, PEER6) is REFUSED
    entries.append(rule(when("saddr", "2001:db8::7", "ip6"), OPEN))
    assert input_verdict({"nftables": entries}, PEER6) is ACCEPTED


def test_firewalld_lets_in_what_was_translated() -> None:
    status = {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}
    entries = [base("drop"), rule(status, OPEN)]
    assert input_verdict({"nftables": entries}, PEER) is ACCEPTED
    assert input_verdict({"nftables": entries}, replace(PEER, translated=False)) is REFUSED


def test_no_listing() -> None:
    with pytest.raises(ValueError, match="not a listing"):
        input_verdict([], PEER)


def test_what_leaves_for_the_proxy_still_has_the_interface_of_its_old_destination() -> None:
    """firewalld's rule for RFC 3964, in its own shape; nothing else stops a connection to ::1."""
    kind = {"type": "filter", "hook": "output", "prio": 10, "policy": "accept"}
    chain = {"chain": {"family": "inet", "table": "t", "name": "out", **kind}}
    elsewhere = {"match": {"op": "!=", "left": {"meta": {"key": "oifname"}}, "right": "lo"}}
    low = when("daddr", {"prefix": {"addr": "::", "len": 96}}, "ip6")
    listing = {"nftables": [chain, rule(elsewhere, low, {"reject": {"type": "icmpv6"}}, chain="out")]}
    leaving = replace(PEER6, destination=ip_address("::1"), port=4140, hook="output")
    assert input_verdict(listing, leaving) is REFUSED
    assert input_verdict(listing, replace(leaving, interface="lo")) is ACCEPTED
    assert input_verdict(listing, replace(leaving, destination=ip_address("2001:db8::1"))) is ACCEPTED
    assert input_verdict(listing, replace(leaving, hook="input")) is ACCEPTED
