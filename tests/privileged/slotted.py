"""A host with two slots of the proxy, whose workload has addresses of one IP version."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from agent.core.addresses import Address
from agent.core.reasons import Reason
from agent.core.slots import NETWORKS, Place, Slot, places
from agent.privileged.system import loopback
from tests.privileged.hosts import APP, CONFIG, FAMILIES, INBOUND, Family, Host, Listeners

ELSEWHERE = {4: "169.254.42.0/24", 6: "fd41:7bfa:3c08::/64"}
BY_NAME = {f"IPv{family.version}": family for family in FAMILIES}


@dataclass(frozen=True)
class Slotted(Host):
    family: Family

    @property
    def text(self) -> str:
        """Its configuration."""
        own = self.family
        exempt, network = (f"[{own.exempt}]", "fd42::/64") if own.version == 6 else (own.exempt, "10.42.0.0/16")
        text = re.sub(r"addresses = .*", f'addresses = ["{own.host}"]', CONFIG)
        text = re.sub(r"outbound_networks = .*", f'outbound_networks = ["{network}"]', text)
        text = re.sub(r"exempt = .*", f'exempt = ["{exempt}:443"]', text)
        return text.replace("user = 2102", "user = 2102\nslots = true")

    @property
    def one_slot(self) -> str:
        return self.text.replace("slots = true", "slots = false")

    @property
    def elsewhere(self) -> str:
        network = ELSEWHERE[self.family.version]
        return self.text.replace("slots = true", f'slots = true\nslot_network = "{network}"')

    @property
    def places(self) -> Mapping[Slot, Place]:
        return places(NETWORKS[self.family.version])

    @property
    def main(self) -> Place:
        return self.places[Slot.MAIN]

    @property
    def standby(self) -> Place:
        return self.places[Slot.STANDBY]

    @property
    def link(self) -> str:
        """The interface to the peer; the peer's has the same name."""
        (route,) = json.loads(self.space.run("ip", "-j", "route", "get", self.family.peer))
        return str(route["dev"])

    def add_addresses(self) -> None:
        """Before its rules: a proxy of the test listens there."""
        addresses = [place.address for place in self.places.values()]
        self.space.inside(partial(loopback.add, self.prefix, addresses, self.main.network))

    def on_lo(self) -> set[Address]:
        links = json.loads(self.space.run("ip", "-j", "address", "show", "dev", "lo"))
        return {ip_address(one["local"]) for link in links for one in link.get("addr_info", []) if "local" in one}

    def arrives(self, ears: Listeners) -> str:
        """The address at which a connection of a peer arrives; for the proxy it was going where it was going."""
        own = self.family.host
        (address, port), going = ears.heard(self.peer, own, APP)
        assert (port, going) == (INBOUND, (own, APP))
        return address


def of(host: Host, family: Family) -> Slotted:
    return Slotted(host.space, host.peer, host.prefix, family)


async def ask(host: Host, verb: str, **words: str) -> dict[str, object]:
    return dict(await host.helper().ask(verb, Reason.REDIRECT_FAILED, **words))


async def approve(host: Host, config: str) -> dict[str, object]:
    host.config.write_text(config)
    return await ask(host, "redirect apply", confirm="none")


async def on(host: Host) -> None:
    assert (await ask(host, "redirect set", inbound="on", outbound="on"))["inbound"] == "on"
