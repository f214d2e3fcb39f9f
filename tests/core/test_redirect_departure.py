"""Whether outbound connections reach the proxy, by the rules of other programs: with every part of a network."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.core.redirect.admission import Seen
from agent.core.redirect.departure import Departure, departure
from agent.core.redirect.rules import Network
from agent.core.redirect.walk import Arrival, Verdict
from tests.core.test_redirect_firewall import ACCEPTED, OPEN, REFUSED, SHUT, UNKNOWN, rule, when


def base(policy: str, kind: str = "filter", prio: int = 0) -> dict[str, object]:
    chain = {"family": "inet", "table": "t", "name": "input", "type": kind, "hook": "output"}
    return {"chain": {**chain, "prio": prio, "policy": policy}}


PODS, EVERYWHERE = ip_network("10.42.0.0/16"), ip_network("0.0.0.0/0")
APART = [ip_network("0.0.0.0/8"), ip_network("127.0.0.0/8"), ip_network("224.0.0.0/3")]
MINE, LOOPBACK = ip_address("192.0.2.10"), ip_address("127.0.0.1")
OUT = base("accept")
FIRST = base("accept", "nat", -150)
MARK = {"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 7}}
QUEUE = {"queue": {"num": 0}}
SOME = "10.42.7.0/24"


def to(prefix: str) -> dict[str, object]:
    address, _, length = prefix.partition("/")
    return when("daddr", {"prefix": {"addr": address, "len": int(length)}}, "ip")


def going(network: Network = PODS, apart: list[Network] | None = None, *entries: object) -> Departure | None:
    before = Arrival("eth0", MINE, network[-2], None, translated=False, hook="output")
    sent = replace(before, destination=LOOPBACK, port=4140, translated=True, before=before)
    seen = Seen({"nftables": [*entries]}, {})
    return departure(seen, [sent], [network], apart or APART, every=network == EVERYWHERE)


@pytest.mark.parametrize(
    ("entries", "verdict", "where"),
    [
        ([OUT], ACCEPTED, ""),
        ([base("accept", prio=-150), rule(to(SOME), SHUT)], REFUSED, SOME),
        ([base("accept", prio=-150), rule(to(SOME), MARK, SHUT)], UNKNOWN, SOME),
        ([base("drop", prio=-150), rule(to(SOME), OPEN)], REFUSED, ""),  # nor does the answer pass
        ([OUT, rule(to(SOME), SHUT)], ACCEPTED, ""),  # it sees the proxy's address
        ([OUT, rule(to("127.0.0.0/8"), SHUT)], REFUSED, ""),
        ([OUT, rule(MARK, SHUT)], UNKNOWN, ""),
        ([FIRST, rule(to(SOME), {"dnat": {"addr": "10.9.0.1"}})], UNKNOWN, SOME),
    ],
)
def test_to_the_networks_of_the_cluster(entries: list[object], verdict: Verdict, where: str) -> None:
    found = going(PODS, None, *entries)
    assert found is not None and (found.verdict, found.where) == (verdict, where)
    assert where in found.words and (verdict is ACCEPTED or where in found.fault)


@pytest.mark.parametrize(("hook", "verdict"), [("postrouting", REFUSED), ("input", ACCEPTED)])
def test_a_chain_that_translates_sources_is_met_once(hook: str, verdict: Verdict) -> None:
    """On lo the connection has passed postrouting before it comes in."""
    chain = {"family": "inet", "table": "t", "name": "input", "type": "nat", "hook": hook, "prio": 100}
    found = going(PODS, None, {"chain": {**chain, "policy": "accept"}}, rule(SHUT))
    assert found is not None and found.verdict is verdict


def test_what_is_excepted_does_not_count() -> None:
    entries = [base("accept", prio=-150), rule(to("10.42.7.0/25"), SHUT)]
    found = going(PODS, [ip_network(SOME)], *entries)
    assert found is not None and found.verdict is ACCEPTED
    assert going(PODS, [ip_network("10.0.0.0/8")]) is None


@pytest.mark.parametrize(
    ("entries", "verdict", "where"),
    [
        ([OUT], ACCEPTED, ""),
        ([FIRST, rule({"redirect": {"port": 3128}})], UNKNOWN, ""),  # another program may take it first
        ([FIRST, rule(to("169.254.169.254/32"), {"dnat": {"addr": "10.9.0.1"}})], UNKNOWN, "169.254.169.254"),
        ([base("drop", prio=-150)], REFUSED, ""),
        ([OUT, rule(to("127.0.0.1/32"), SHUT)], REFUSED, ""),
        ([base("accept", prio=-150), rule(to(SOME), SHUT)], ACCEPTED, SOME),
    ],
)
def test_to_everywhere_else(entries: list[object], verdict: Verdict, where: str) -> None:
    """What the firewall refuses in any case is no fault of the redirect; it is shown."""
    found = going(EVERYWHERE, None, *entries)
    assert found is not None and (found.verdict, found.where) == (verdict, where)
    assert where in found.words
