"""A network is judged in the parts that rules name."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from agent.core.redirect.admission import Admission, Seen, admission
from agent.core.redirect.rules import Network
from agent.core.redirect.walk import Verdict
from tests.core.test_redirect_admission import NAMED, PEER6, table
from tests.core.test_redirect_firewall import ACCEPTED, OPEN, PEER, REFUSED, SHUT, UNKNOWN, base, rule, when

WIDE = ip_network("10.42.0.0/16")
WIDE6 = ip_network("2001:db8::/32")
BELOW_7, ABOVE_7, ABOVE_0 = "10.42.0.0-10.42.6.255", "10.42.8.0-10.42.255.255", "10.42.1.0-10.42.255.255"


def of(prefix: str, op: str = "==") -> dict[str, object]:
    address, _, length = prefix.partition("/")
    return when("saddr", {"prefix": {"addr": address, "len": int(length)}}, "ip6" if ":" in prefix else "ip", op)


def to_parts(seen: Seen, network: Network = WIDE) -> Admission:
    peer = replace(PEER if network.version == 4 else PEER6, source=network[-2])
    return admission(seen, [peer, replace(peer, translated=False, before=peer)], [network])


RANGE = when("saddr", {"range": ["10.42.7.3", "10.42.7.9"]}, "ip")
SPANS = {"set": {**NAMED["set"], "elem": [{"prefix": {"addr": "10.42.7.0", "len": 24}}, "192.0.2.1"]}}


@pytest.mark.parametrize(
    ("entries", "verdict", "where"),
    [
        ([base("accept"), rule(of("10.42.7.0/24"), SHUT)], REFUSED, "10.42.7.0/24"),
        ([base("drop"), rule(of("10.42.0.0/24"), OPEN)], REFUSED, ABOVE_0),
        ([base("accept"), rule(of("10.42.7.0/24", "!="), SHUT)], REFUSED, f"{BELOW_7}, {ABOVE_7}"),
        ([base("accept"), rule(RANGE, SHUT)], REFUSED, "10.42.7.3-10.42.7.9"),
        ([base("accept"), rule(when("saddr", "10.42.7.7", "ip"), SHUT)], REFUSED, "10.42.7.7"),
        ([base("accept"), rule(of("10.42.7.0/24"), {"queue": {"num": 0}})], UNKNOWN, "10.42.7.0/24"),
        ([base("accept"), SPANS, rule(when("saddr", "@peers", "ip"), SHUT)], REFUSED, "10.42.7.0/24"),
        ([base("accept"), rule(when("dport", 22), of("10.42.7.0/24"), SHUT)], ACCEPTED, ""),
        ([base("accept"), rule(of("10.0.0.0/8"), SHUT)], REFUSED, ""),
        ([base("drop"), rule(of("10.42.0.0/17"), OPEN), rule(of("10.42.128.0/17"), OPEN)], ACCEPTED, ""),
    ],
)
def test_a_part_of_a_network_is_named(entries: list[object], verdict: Verdict, where: str) -> None:
    found = to_parts(Seen({"nftables": entries}, {}))
    assert (found.verdict, found.where) == (verdict, where)
    assert not where or (f"peers in {where} " in found.words and where in found.cause)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (table("ACCEPT", "-A INPUT -s 10.42.7.0/24 -j DROP"), "10.42.7.0/24"),
        (table("DROP", "-A INPUT -s 10.42.0.0/24 -j ACCEPT"), ABOVE_0),
        (table("ACCEPT", "-A INPUT -m iprange --src-range 10.42.7.3-10.42.7.9 -j DROP"), "10.42.7.3-10.42.7.9"),
    ],
)
def test_a_part_of_a_network_is_named_by_iptables(text: str, where: str) -> None:
    found = to_parts(Seen(None, {("legacy", 4): text}))
    assert (found.verdict, found.where) == (REFUSED, where)
    assert found.commands == ("iptables -I INPUT -s 10.42.0.0/16 -p tcp --dport 4143 -j ACCEPT",)


def test_a_part_of_an_ipv6_network_is_named_and_this_hosts_own_address_is_no_peers() -> None:
    entries = [base("accept"), rule(of("2001:db8:7::/48"), SHUT)]
    assert to_parts(Seen({"nftables": entries}, {}), WIDE6).where == "2001:db8:7::/48"
    own = [base("accept"), rule(when("saddr", "2001:db8::10", "ip6"), SHUT)]
    assert to_parts(Seen({"nftables": own}, {}), WIDE6).verdict is ACCEPTED


@pytest.mark.parametrize(("shut", "verdict"), [(None, UNKNOWN), ("10.42.0.0", REFUSED), ("10.42.255.0", UNKNOWN)])
def test_of_too_many_parts_it_cannot_be_told(shut: str | None, verdict: Verdict) -> None:
    """A refusal in those that were looked at is one all the same."""
    named = [rule(when("saddr", f"10.42.{number}.1", "ip"), OPEN) for number in range(70)]
    more = [rule(of(f"{shut}/24"), SHUT)] if shut else []
    found = to_parts(Seen({"nftables": [base("accept"), *more, *named]}, {}))
    assert found.verdict is verdict
    assert verdict is REFUSED or "more than 64 parts of 10.42.0.0/16" in found.words


def test_the_addresses_of_one_set_are_one_part() -> None:
    many = {"set": {**NAMED["set"], "elem": [f"10.42.{number}.1" for number in range(200)]}}
    entries = [base("accept"), many, rule(when("saddr", "@peers", "ip"), SHUT)]
    found = to_parts(Seen({"nftables": entries}, {}))
    assert (found.verdict, found.where) == (REFUSED, "10.42.0.1, 10.42.1.1, 10.42.2.1, 10.42.3.1 and 196 more")
