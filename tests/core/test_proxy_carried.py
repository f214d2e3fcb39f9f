"""What a proxy forwards: its connections to the application and to destinations."""

from dataclasses import replace

import pytest

from agent.core.procfs import Connection
from agent.core.proxy import ProxySettings
from agent.core.proxy_sockets import carried
from agent.core.slots import Slot, places

HERE, THERE, CONTROLLER = "192.0.2.7", "10.42.0.9", "10.42.0.3"
SETTINGS = ProxySettings(
    version="2.366.0",
    workload="vm-1",
    namespace="mixed",
    identity="spiffe://root.example/vm-1",
    server_name="vm-1.mixed.example",
    addresses=(HERE,),
    workload_api="/run/spire/api.sock",
    ports=(8080, 8086),
)


def connection(local: int, remote: tuple[str, int], state: str = "01") -> Connection:
    return Connection((HERE, local), remote, state, 2102)


@pytest.mark.parametrize(
    ("found", "count"),
    [
        (connection(4143, (THERE, 50000)), 0),  # accepted from a peer
        (connection(4140, (HERE, 50000)), 0),  # accepted from the application
        (connection(4191, ("127.0.0.1", 50000)), 0),
        (connection(50000, (HERE, 8080)), 1),  # to the application
        (connection(50000, (THERE, 5432)), 1),  # for the application
        (connection(50000, (THERE, 5432), "08"), 1),  # the far end is done, and this one is not
        (connection(50000, (THERE, 5432), "02"), 0),  # dialled, without an answer yet
        (connection(50000, (THERE, 5432), "06"), 0),  # over
        (connection(50000, (CONTROLLER, 8086)), 0),
        (connection(50000, (CONTROLLER, 8090)), 0),
        (connection(50000, (HERE, 8086)), 1),  # the application's port is the controller's
    ],
)
def test_what_leads_on(found: Connection, count: int) -> None:
    assert carried([found], SETTINGS) == count


def test_a_control_plane_that_is_named_by_its_address_is_known_by_it() -> None:
    settings = replace(SETTINGS, destination=f"{CONTROLLER}:8443", policy="[2001:db8::1]:8443")
    found = [connection(50000, (address, 8443)) for address in (CONTROLLER, "2001:db8::1", THERE)]
    assert carried(found, settings) == 1


MAIN, STANDBY = (str(place.address) for place in places().values())
BOTH = [
    Connection((MAIN, 4143), (THERE, 50000), "01", 2102),
    Connection((MAIN, 4143), (THERE, 50001), "08", 2102),
    Connection((MAIN, 4143), (THERE, 50002), "06", 2102),  # over
    Connection((STANDBY, 4143), (THERE, 50003), "01", 2102),
    Connection(("127.0.0.1", 4140), (HERE, 50004), "01", 2102),
    Connection(("127.0.0.1", 4142), (HERE, 50005), "01", 2102),
    Connection(("127.0.0.1", 4191), ("127.0.0.1", 50007), "01", 2102),
]


@pytest.mark.parametrize(("slot", "count"), [(Slot.MAIN, 3), (Slot.STANDBY, 2)])
def test_what_a_slot_has_accepted_is_told_from_that_of_the_other(slot: Slot, count: int) -> None:
    settings = replace(SETTINGS, slot=places()[slot])
    assert carried([*BOTH, connection(50000, (HERE, 8080))], settings) == count
    assert carried(BOTH, settings) == 0, "nothing leads on"


def test_a_proxy_from_before_there_were_slots_is_the_one_at_every_address() -> None:
    found = [connection(4143, (THERE, 50000)), connection(50000, (HERE, 8080))]
    assert carried(found, replace(SETTINGS, slot=places()[Slot.MAIN])) == 1
