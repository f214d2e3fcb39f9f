"""The two slots of the proxy on a really booted systemd, for a workload whose only address is of IPv6."""

from __future__ import annotations

import json

import pytest

from agent.core.slots import NETWORKS, places
from tests.contract.test_proxy_unit_agent import AGENT, NEXT, runs
from tests.contract.test_proxy_unit_agent import enabled as enabled
from tests.contract.test_proxy_unit_slots import CONFIG, asking, at_rest, killed, serving, stands_by
from tests.contract.unit_fixtures import clean_machine as clean_machine
from tests.contract.unit_fixtures import client_network as client_network
from tests.lab import netns, unit_machine
from tests.lab.machine import Machine
from tests.lab.proxy_neighbours import ADDRESS6, PROXIED, RESET
from tests.lab.unit_machine import dial, levels

pytestmark = pytest.mark.real

ADDRESSES = {str(place.address) for place in places(NETWORKS[6]).values()}


@pytest.fixture(name="slots")
def with_slots(machine: Machine) -> Machine:
    unit_machine.configure(machine, address=ADDRESS6)
    machine.write(CONFIG, machine.read(CONFIG).replace("[proxy]\n", "[proxy]\nslots = true\n"))
    return machine


def on_lo(machine: Machine) -> set[str]:
    links = json.loads(machine.run("ip", "-6", "-j", "address", "show", "dev", "lo"))
    return {one["local"] for link in links for one in link.get("addr_info", []) if "local" in one}


def test_replacements_and_the_way_out_of_the_mesh(slots: Machine, client: netns.Namespace) -> None:
    """No request fails, in either direction; in the end nothing is left on lo."""
    before = on_lo(slots)
    serving(slots)
    assert on_lo(slots) - before == ADDRESSES
    said = slots.run("fairlead", "doctor", "replacement")
    assert "without a drain" in said
    unit_machine.stand_in(slots, NEXT)
    with asking(client, ADDRESS6) as got, unit_machine.dialling_out(slots) as sent:
        for words in (["upgrade", NEXT], ["restart"], ["rollback"]):
            slots.run("fairlead", "proxy", *words, within=180)
            slots.wait_until(at_rest(slots), "main serves alone")
            assert levels(slots) == ("on", "on")
    assert runs(slots) == unit_machine.VERSION
    assert (set(got), set(sent)) == ({PROXIED}, {PROXIED})
    slots.run("fairlead", "leave", within=60)
    slots.wait_until(lambda: on_lo(slots) == before, "the addresses of the slots are gone")


def test_a_standby_takes_over_when_the_proxy_is_killed(slots: Machine, client: netns.Namespace) -> None:
    """With the agent and without it."""
    slots.write(CONFIG, slots.read(CONFIG).replace("slots = true\n", "slots = true\nstandby = true\n"))
    serving(slots)
    for named in ("main", "standby"):
        slots.wait_until(lambda: stands_by(slots), "the second slot is proved ready")
        if named == "standby":
            slots.systemctl("stop", AGENT)
        killed(slots, client, named, ADDRESS6)


def test_a_boot_closes_the_ports_and_has_the_addresses_before_any_proxy(
    slots: Machine, enabled: Machine, client: netns.Namespace
) -> None:
    serving(slots)
    slots.reboot()  # without an identity, for which no boot waits
    slots.wait_for(AGENT)
    assert (levels(slots)[0], dial(client, ADDRESS6)) == ("block", RESET)
    assert on_lo(slots) >= ADDRESSES
    slots.systemctl("start", "workload-api")
    serving(slots)
    assert dial(client, ADDRESS6) == PROXIED
