"""The slots' addresses on lo: they come and go with the rules, reach nobody outside, and nothing else goes."""

import json
import re

import pytest

from agent.core.slots import Slot
from agent.ports import Trouble
from tests.privileged.hosts import INBOUND, Host, Listeners, dial
from tests.privileged.slotted import BY_NAME, Slotted, approve, ask, of, on


async def test_the_addresses_come_with_the_rules_and_go_with_them(slotted: Slotted) -> None:
    before = slotted.on_lo()
    await ask(slotted, "redirect set", inbound="released", outbound="released")
    assert slotted.on_lo() - before == {place.address for place in slotted.places.values()}
    for level in ("released", "off"):
        await ask(slotted, "redirect set", inbound=level, outbound=level)
    assert slotted.on_lo() == before
    assert "fairlead" not in slotted.space.run("nft", "list", "tables")


@pytest.mark.parametrize("number", [2, 77], ids=["of a slot", "another"])
async def test_a_network_that_this_host_uses_is_not_taken(slotted: Slotted, number: int) -> None:
    """Nor is such an address ever removed."""
    theirs = slotted.main.network[number]
    slotted.space.ip(f"addr add {theirs}/{theirs.max_prefixlen} dev lo")
    before = slotted.on_lo()
    with pytest.raises(Trouble, match=re.escape(f"lo has {theirs}")):
        await ask(slotted, "redirect set", inbound="released", outbound="released")
    assert slotted.on_lo() == before
    await ask(slotted, "redirect set", inbound="off", outbound="off")
    assert slotted.on_lo() == before


async def test_addresses_of_others_stay_when_those_of_the_slots_go(slotted: Slotted) -> None:
    """Also one of the same network, which came later, and one of a slot itself on another interface."""
    await ask(slotted, "redirect set", inbound="released", outbound="released")
    for place, name in ((slotted.main.network[9], "lo"), (slotted.main.address, slotted.link)):
        slotted.space.ip(f"addr add {place}/{place.max_prefixlen} dev {name}")
    await ask(slotted, "redirect set", inbound="off", outbound="off")
    assert slotted.main.network[9] in slotted.on_lo()
    assert not slotted.on_lo() & {place.address for place in slotted.places.values()}
    assert str(slotted.main.address) in slotted.space.run("ip", "address", "show", "dev", slotted.link)


async def test_lost_addresses_are_drift_and_come_back(slotted: Slotted, ears: Listeners) -> None:
    """Those of IPv6 go when lo is set down, those of IPv4 when somebody removes them."""
    ears.add_proxy(slotted.space)
    await on(slotted)
    if slotted.family.version == 6:
        slotted.space.ip("link set lo down")
        slotted.space.ip("link set lo up")
    else:
        slotted.space.ip(f"addr del {slotted.standby.address}/32 dev lo")
    assert slotted.standby.address not in slotted.on_lo()
    assert (await ask(slotted, "redirect check"))["inbound"] == "partial"
    await on(slotted)
    assert slotted.standby.address in slotted.on_lo()
    assert (await ask(slotted, "redirect check"))["inbound"] == "on"
    assert slotted.arrives(ears) == str(slotted.main.address)


async def test_the_address_of_a_slot_is_the_source_of_no_connection(slotted: Slotted) -> None:
    """Not even to what looks much like it, from a host that has its own address on lo too."""
    await ask(slotted, "redirect set", inbound="released", outbound="released")
    own, link, near = slotted.family.host, slotted.link, slotted.main.network[33]
    slotted.space.ip(f"addr add {own} dev lo")
    slotted.space.ip(f"addr del {own}/{64 if near.version == 6 else 24} dev {link}")
    slotted.space.ip(f"route add {near} dev {link}")
    (route,) = json.loads(slotted.space.run("ip", "-j", "route", "get", str(near)))
    assert route["prefsrc"] not in {str(place.address) for place in slotted.places.values()}


async def test_a_workload_that_changes_its_ip_version_takes_other_slots(host: Host, ears: Listeners) -> None:
    ears.add_proxy(host.space)
    before = of(host, BY_NAME["IPv4"]).on_lo()
    for name in ("IPv4", "IPv6", "IPv4"):
        now = of(host, BY_NAME[name])
        await approve(now, now.text)
        assert now.arrives(ears) == str(now.main.address)
        assert now.on_lo() - before == {place.address for place in now.places.values()}
    now.config.write_text(now.one_slot.replace('"10.9.0.2"', '"10.9.0.2", "fd09::2"'))
    await approve(now, now.config.read_text())
    assert now.on_lo() == before
    assert "fairlead" not in host.space.run("nft", "list", "tables", "arp")


@pytest.mark.parametrize("forwards", [False, True], ids=["host", "router"])
@pytest.mark.parametrize("slot", list(Slot), ids=lambda slot: slot.value)
async def test_no_neighbour_learns_the_address_of_a_slot(
    slotted: Slotted, ears: Listeners, slot: Slot, forwards: bool
) -> None:
    """Nobody answers ARP or a neighbour solicitation for it, and a packet that comes for it all the same is
    dropped."""
    own, peer = slotted.family, slotted.peer
    path = "ipv4.ip_forward" if own.version == 4 else "ipv6.conf.all.forwarding"
    slotted.space.run("sysctl", "-qw", f"net.{path}={int(forwards)}")
    await ask(slotted, "redirect set", inbound="released", outbound="released")
    address = slotted.places[slot].address
    ears.add_slot(slotted.space, slotted.places[slot])
    link = slotted.link  # on both sides
    peer.ip(f"route add {address} dev {link}")
    with pytest.raises(OSError, match="No route to host"):
        dial(peer, str(address), INBOUND)
    peer.ip(f"neigh replace {address} lladdr {_mac(slotted)} dev {link} nud permanent")
    with pytest.raises(TimeoutError):
        dial(peer, str(address), INBOUND, within=1)
    assert ears.silent()


def _mac(host: Slotted) -> str:
    (link,) = json.loads(host.space.run("ip", "-j", "link", "show", "dev", host.link))
    return str(link["address"])


FIREWALL = """
table {protocol} fw {{
  chain input {{
    type filter hook input priority 0; policy drop;
    ct state established accept
    iifname lo accept
    meta l4proto ipv6-icmp accept
    {protocol} daddr {address} tcp dport 4143 accept
  }}
}}
"""


async def test_a_firewall_of_the_host_sees_the_address_of_the_slot(slotted: Slotted, ears: Listeners) -> None:
    """By what is judged of it, and by a connection."""
    ears.add_proxy(slotted.space)
    protocol = "ip" if slotted.family.version == 4 else "ip6"
    for address, admitted in ((slotted.family.host, False), (slotted.main.address, True)):
        slotted.space.run("nft", "-f", "-", input=f"add table {protocol} fw\ndelete table {protocol} fw\n")
        slotted.space.run("nft", "-f", "-", input=FIREWALL.format(protocol=protocol, address=address))
        await on(slotted)
        assert (await ask(slotted, "redirect firewall"))["verdict"] == ("accepted" if admitted else "refused")
    assert slotted.arrives(ears) == str(slotted.main.address)
