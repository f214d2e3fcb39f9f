from dataclasses import replace
from ipaddress import ip_address

import pytest

from agent.core.redirect.spec import Inbound, RedirectSpec
from agent.core.redirect.unproxied import unproxied

SPEC = RedirectSpec(2102, (ip_address("192.0.2.7"),), frozenset({8080, 9090}))
OWN = tuple(map(ip_address, ("127.0.0.1", "192.0.2.7", "198.51.100.3", "::1", "fe80::7", "2001:db8::7")))


@pytest.mark.parametrize(
    ("at", "reached"),
    [
        ("0.0.0.0", ("198.51.100.3",)),
        ("::", ("198.51.100.3", "2001:db8::7", "fe80::7")),
        ("192.0.2.7", ()),
        ("127.0.0.1", ()),
        ("198.51.100.3", ("198.51.100.3",)),
        ("203.0.113.1", ()),
    ],
)
def test_where_a_declared_port_is_reached_without_the_proxy(at: str, reached: tuple[str, ...]) -> None:
    assert unproxied(SPEC, [(at, 8080)], OWN) == ({8080: reached} if reached else {})


def test_no_other_port_counts() -> None:
    assert unproxied(SPEC, [("0.0.0.0", 22)], OWN) == {}


def test_several_listeners_of_a_port_are_one_line() -> None:
    listening = [("198.51.100.3", 9090), ("fe80::7", 9090), ("192.0.2.7", 9090)]
    assert unproxied(SPEC, listening, OWN) == {9090: ("198.51.100.3", "fe80::7")}


def test_nothing_is_said_where_inbound_is_off() -> None:
    assert unproxied(replace(SPEC, inbound=Inbound.OFF), [("0.0.0.0", 8080)], OWN) == {}
