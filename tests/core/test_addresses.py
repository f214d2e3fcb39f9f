"""Addresses as values: two spellings of one address are equal."""

from ipaddress import ip_address, ip_network

import pytest

from agent.core.addresses import address, comparable, network


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("192.0.2.10", "192.0.2.10"),
        (" 192.0.2.10\n", "192.0.2.10"),
        ("2001:DB8::10", "2001:db8::10"),
        ("2001:0db8:0000:0000:0000:0000:0000:0010", "2001:db8::10"),
        ("2001:db8::0.0.0.16", "2001:db8::10"),
        ("::ffff:192.0.2.10", "192.0.2.10"),
        ("::FFFF:C000:020A", "192.0.2.10"),
        ("2001:db8::10%eth0", "2001:db8::10"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_addresses_are_compared_as_values(text: str, value: str) -> None:
    assert address(text) == ip_address(value) == comparable(text)
    assert str(address(text)) == value


@pytest.mark.parametrize("text", ["", "db-1", "192.0.2.010", "192.0.2.10/32", "[2001:db8::10]", "2001:db8::10%"])
def test_what_is_no_address_equals_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        address(text)
    assert comparable(text) == text


def test_a_link_local_address_is_another_on_another_interface() -> None:
    assert comparable("fe80::1%eth0") != comparable("fe80::1%eth1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("10.42.0.0/255.255.0.0", "10.42.0.0/16"),
    ],
)
def test_networks_are_values_too(text: str, value: str) -> None:
    assert network(text) == ip_network(value)
