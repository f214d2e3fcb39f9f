"""The network of the slots: what it may be, and the IP version that it has where none is set."""

import pytest

from agent import config
from agent.config import derived
from agent.core.proxy import environment
from tests.config.test_config import EXAMPLE, example, problems


def with_slots(network: str = "", addresses: str = '"192.0.2.10"') -> str:
    text = example("slots = false", "slots = true" + (f'\nslot_network = "{network}"' if network else ""))
    return text.replace('addresses = ["192.0.2.10"]', f"addresses = [{addresses}]")


@pytest.mark.parametrize(
    "network",
    [
        *("10.0.0.0/24", "169.254.0.0/16", "169.254.41.0/31", "169.254.169.0/24", "169.254.41.1/24"),
        *("fe80::/64", "2001:db8::/64", "fc00::/64", "fd00::/8", "fd12:3456:789a::/48", "fd12::/127", "slots"),
    ],
)
def test_a_network_of_slots_is_link_local_or_unique_local_and_small(network: str) -> None:
    assert set(problems(with_slots(network))) == {"proxy.slot_network"}


@pytest.mark.parametrize(
    ("network", "addresses"),
    [("fd12:3456:789a::/64", '"192.0.2.10"'), ("169.254.7.0/24", '"2001:db8::10"')],
)
def test_a_network_of_slots_has_the_ip_version_of_the_workloads_address(network: str, addresses: str) -> None:
    text = with_slots(network, addresses)
    assert "alone" in problems(text)["proxy.slot_network"].cause
    both = '"192.0.2.10", "2001:db8::10"'  # such a host has one slot
    for good in (text.replace("slots = true", "slots = false"), with_slots(network, both)):
        assert str(config.parse(good).proxy.slot_network) == network


@pytest.mark.parametrize(
    ("addresses", "set_to", "at", "outbound"),
    [
        ('"192.0.2.10"', "", "169.254.41.1:4143", "127.0.0.1:4140"),
        ('"192.0.2.10"', "169.254.7.0/30", "169.254.7.1:4143", "127.0.0.1:4140"),
        ('"2001:db8::10"', "", "[fdec:6392:6e0c::1]:4143", "[::1]:4140"),
        ('"2001:db8::10"', "fd12:3456:789a::/64", "[fd12:3456:789a::1]:4143", "[::1]:4140"),
        ('"192.0.2.10", "2001:db8::10"', "", "[::]:4143", "127.0.0.1:4140,[::1]:4140"),
        ('"192.0.2.10", "2001:db8::10"', "169.254.7.0/30", "[::]:4143", "127.0.0.1:4140,[::1]:4140"),
    ],
)
def test_a_slot_has_the_ip_version_of_the_workloads_address(
    addresses: str, set_to: str, at: str, outbound: str
) -> None:
    """Its page of metrics is where it was; with both versions there is one slot."""
    text = EXAMPLE.read_text().replace('addresses = ["192.0.2.10"]', f"addresses = [{addresses}]")
    network = f'\nslot_network = "{set_to}"' if set_to else ""
    found = config.parse(text.replace("slots = false", f"slots = true{network}"))
    variables = environment(derived.proxy_settings(found, "/nowhere"), "PEM")
    assert variables["LINKERD2_PROXY_INBOUND_LISTEN_ADDR"] == at
    assert variables["LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS"] == outbound
    assert variables["LINKERD2_PROXY_ADMIN_LISTEN_ADDR"] == "127.0.0.1:4191"
    assert variables["LINKERD2_PROXY_INBOUND_IPS"] == addresses.replace('"', "").replace(" ", "")
