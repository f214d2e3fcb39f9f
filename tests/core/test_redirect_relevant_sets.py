"""Which foreign sets are read: those that rules on a packet's path refer to."""

from ipaddress import ip_address
from typing import Any

from agent.core.redirect import relevant_sets
from agent.core.redirect.firewall import Arrival, Verdict, input_verdict

HERE = {"family": "inet", "table": "t"}


def named(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {kind: {**HERE, "name": name, "type": "ipv4_addr", **more}}


def chain(name: str, **more: Any) -> dict[str, Any]:
    return {"chain": {**HERE, "name": name, **more}}


def rule(chain: str, *expressions: Any) -> dict[str, Any]:
    return {"rule": {**HERE, "chain": chain, "expr": [*expressions]}}


def equals(field: str, right: Any) -> dict[str, Any]:
    protocol = "tcp" if field == "dport" else "ip"
    return {"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}}


def by_map(name: str) -> dict[str, Any]:
    return {"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": name}}


# As `nft -j -t` lists it: the sets without their elements.
LISTING = {
    "nftables": [
        {"metainfo": {"version": "1.1.3"}},
        named("set", "peers"),
        named("set", "far"),
        named("set", "unused"),
        named("set", "banned", flags=["timeout"]),
        named("map", "ports", map="verdict"),
        chain("in", type="filter", hook="input", prio=0, policy="drop"),
        chain("out", type="filter", hook="output", prio=0, policy="accept"),
        chain("by_port"),
        chain("loop"),
        rule("in", equals("saddr", "@banned"), {"drop": None}),
        rule("in", {"jump": {"target": "loop"}}),
        rule("loop", {"goto": {"target": "in"}}),
        rule("in", by_map("@ports")),
        rule("by_port", equals("saddr", "@peers"), {"accept": None}),
        rule("out", equals("daddr", "@far"), {"drop": None}),
    ]
}
PORTS = ("map", "inet", "t", "ports")
PEERS, FAR = ("set", "inet", "t", "peers"), ("set", "inet", "t", "far")
LISTED = {
    PORTS: {"nftables": [named("map", "ports", map="verdict", elem=[[4143, {"jump": {"target": "by_port"}}]])]},
    PEERS: {"nftables": [named("set", "peers", elem=[{"prefix": {"addr": "10.9.0.0", "len": 24}}])]},
}
INPUT, OUTPUT = frozenset({"input"}), frozenset({"output"})


def test_a_set_decides_where_a_rule_on_the_way_refers_to_it() -> None:
    assert relevant_sets.named_sets(LISTING, OUTPUT) == {FAR}
    assert relevant_sets.named_sets(LISTING, INPUT) == {PORTS}


def test_a_map_leads_to_more() -> None:
    found = relevant_sets.with_sets(LISTING, {PORTS: LISTED[PORTS]})
    assert relevant_sets.named_sets(found, INPUT) == {PORTS, PEERS}


def test_a_set_that_was_not_read_is_not_known() -> None:
    """Peers are accepted if the set is read; else the result is unknown: an unread set does not count as empty."""
    entries = [entry for entry in LISTING["nftables"] if not {"@banned", "@far"} & set(str(entry).split("'"))]
    whole = relevant_sets.marked(relevant_sets.with_sets({"nftables": entries}, LISTED), LISTED)
    part = {PORTS: LISTED[PORTS], PEERS: None}
    partly = relevant_sets.marked(relevant_sets.with_sets({"nftables": entries}, part), part)
    near, far = (Arrival("w0", ip_address(one), ip_address("10.9.0.2")) for one in ("10.9.0.1", "10.8.0.1"))
    assert input_verdict(whole, near) is Verdict.ACCEPTED
    assert input_verdict(whole, far) is Verdict.REFUSED
    assert input_verdict(partly, near) is Verdict.UNKNOWN


def test_fairleads_own_table_is_not_followed() -> None:
    own = {"family": "inet", "table": "fairlead"}
    entries = [
        {"set": {**own, "name": "trial"}},
        {"chain": {**own, "name": "c", "hook": "input"}},
        {"rule": {**own, "chain": "c", "expr": [equals("saddr", "@trial")]}},
    ]
    assert relevant_sets.named_sets({"nftables": entries}, INPUT) == set()
