"""The turn of the redirect between two slots, by the privileged helper and real rules."""

import contextlib
import errno
import json
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from agent.core.reasons import Reason
from agent.core.slots import Slot, places
from agent.host import Host as Paths
from agent.ports import Trouble
from tests.privileged.hosts import APP, CONFIG, INBOUND, PROXY_UID, Host, Listeners, dial

PLACES = places()
MAIN, STANDBY = PLACES[Slot.MAIN], PLACES[Slot.STANDBY]
ADDRESS, FAR = "10.9.0.2", "10.42.0.7"
SLOTS = (
    CONFIG.replace(', "fd09::2"', "")
    .replace(', "fd42::/64"', "")
    .replace(', "[fd42::9]:443"', "")
    .replace("user = 2102", "user = 2102\nslots = true")
)


@pytest.fixture
def two(host: Host) -> Host:
    host.config.write_text(SLOTS)
    for place in PLACES.values():
        host.space.ip(f"addr add {place.address}/32 dev lo scope host label lo:fairlead")
    return host


async def ask(host: Host, verb: str, **words: str) -> dict[str, object]:
    return dict(await host.helper().ask(verb, Reason.REDIRECT_FAILED, **words))


async def on(host: Host) -> None:
    assert (await ask(host, "redirect set", inbound="on", outbound="on"))["inbound"] == "on"


def arrives(host: Host, ears: Listeners) -> str:
    """The address at which a connection of a peer arrives; for the proxy it was going where it was going."""
    (address, port), going = ears.heard(host.peer, ADDRESS, APP)
    assert (port, going) == (INBOUND, (ADDRESS, APP))
    return address


def addresses(host: Host) -> str:
    return host.space.run("ip", "-4", "address", "show", "dev", "lo")


async def test_it_turns_to_the_other_slot_and_back_and_open_streams_stay(two: Host, ears: Listeners) -> None:
    for place in PLACES.values():
        ears.add_slot(two.space, place)
    await on(two)
    assert arrives(two, ears) == str(MAIN.address)
    with ears.stream(two.peer, ADDRESS, APP) as stream:
        for place, slot in ((STANDBY, Slot.STANDBY), (MAIN, Slot.MAIN), (STANDBY, Slot.STANDBY)):
            answer = await ask(two, "redirect turn", slot=slot.value)
            assert (answer["inbound"], answer["outbound"]) == ("on", "on")
            assert arrives(two, ears) == str(place.address)
            assert (await ask(two, "redirect check")).get("slot", "main") == slot.value
            assert (await ask(two, "redirect check"))["inbound"] == "on"
            stream.flow()
        assert stream.arrived[0] == str(MAIN.address)


async def test_the_same_slot_again_changes_nothing(two: Host, ears: Listeners) -> None:
    ears.add_slot(two.space, MAIN)
    await on(two)
    before = two.space.run("nft", "-s", "-a", "list", "table", "inet", "fairlead")
    await ask(two, "redirect turn", slot="main")
    assert two.space.run("nft", "-s", "-a", "list", "table", "inet", "fairlead") == before


async def refused(host: Host, **words: str) -> Trouble:
    with pytest.raises(Trouble) as raised:
        await ask(host, "redirect turn", **words)
    return raised.value


async def test_it_turns_to_no_proxy_that_is_not_ready(two: Host, ears: Listeners) -> None:
    ears.add_slot(two.space, MAIN)
    await on(two)
    assert (await refused(two, slot="standby")).reason is Reason.PROXY_LISTENER_ABSENT
    admin = ears.add_slot(two.space, STANDBY)
    admin.ready = 503
    assert (await refused(two, slot="standby")).reason is Reason.PROXY_STARTING
    admin.ready, admin.expires = 200, 0.0
    assert (await refused(two, slot="standby")).reason is Reason.PROXY_UNCERTIFIED
    assert arrives(two, ears) == str(MAIN.address)


async def test_it_turns_to_no_listener_of_another_user(two: Host, ears: Listeners) -> None:
    ears.add_slot(two.space, MAIN)
    await on(two)
    ears.add_slot(two.space, STANDBY, uid=PROXY_UID + 1)
    assert (await refused(two, slot="standby")).reason is Reason.PROXY_LISTENER_FOREIGN
    assert arrives(two, ears) == str(MAIN.address)


async def test_a_closed_port_stays_closed_by_a_turn(two: Host, ears: Listeners) -> None:
    for place in PLACES.values():
        ears.add_slot(two.space, place)
    await on(two)
    await ask(two, "redirect block", direction="inbound")
    assert (await ask(two, "redirect turn", slot="standby"))["inbound"] == "block"
    with pytest.raises(ConnectionRefusedError):
        ears.heard(two.peer, ADDRESS, APP)
    await on(two)
    assert arrives(two, ears) == str(STANDBY.address)


async def test_the_rules_of_another_slot_are_repaired(two: Host, ears: Listeners) -> None:
    """As after a helper that ended between the rules and the record."""
    for place in PLACES.values():
        ears.add_slot(two.space, place)
    await on(two)
    await ask(two, "redirect turn", slot="standby")
    Paths(two.prefix).active_slot.unlink()
    assert (await ask(two, "redirect check"))["inbound"] == "partial"
    assert (await refused(two, slot="standby")).reason is Reason.REDIRECT_FAILED
    await on(two)
    assert arrives(two, ears) == str(MAIN.address)


async def test_the_addresses_come_with_the_rules_and_go_with_them(host: Host, ears: Listeners) -> None:
    host.config.write_text(SLOTS)
    await ask(host, "redirect set", inbound="released", outbound="released")
    assert all(str(place.address) in addresses(host) for place in PLACES.values())
    for level in ("released", "off"):
        await ask(host, "redirect set", inbound=level, outbound=level)
    assert "169.254." not in addresses(host)
    assert "fairlead" not in host.space.run("nft", "list", "tables")


async def test_a_network_that_this_host_uses_is_not_taken(host: Host, ears: Listeners) -> None:
    host.config.write_text(SLOTS)
    host.space.ip("addr add 169.254.41.77/24 dev lo")
    with pytest.raises(Trouble, match=r"169\.254\.41\.77"):
        await ask(host, "redirect set", inbound="released", outbound="released")
    assert str(MAIN.address) not in addresses(host)


async def test_a_host_with_one_slot_turns_nothing(host: Host, ears: Listeners) -> None:
    ears.add_proxy(host.space)
    await on(host)
    assert "proxy.slots is false" in (await refused(host, slot="standby")).detail
    assert "169.254." not in addresses(host)
    rules = host.space.run("nft", "list", "table", "inet", "fairlead")
    assert "chain direct" not in rules and "chain slots" not in rules


async def test_a_proxy_that_listens_on_every_address_serves_before_its_restart(
    host: Host, ears: Listeners
) -> None:
    """As after the configuration has got slots."""
    host.config.write_text(SLOTS)
    ears.add_proxy(host.space)
    await on(host)
    assert arrives(host, ears) == str(MAIN.address)


# an edited configuration ------------------------------------------------------------------------------

ONE = SLOTS.replace("slots = true", "slots = false")
ELSEWHERE = SLOTS.replace("slots = true", 'slots = true\nslot_network = "169.254.42.0/24"')


async def approve(host: Host, config: str) -> dict[str, object]:
    host.config.write_text(config)
    return await ask(host, "redirect apply", confirm="none")


async def test_slots_are_approved_while_the_proxy_listens_on_every_address(host: Host, ears: Listeners) -> None:
    """It is reached by the rules of both, in both directions of the change."""
    ears.add_proxy(host.space)
    for config, at in ((ONE, ADDRESS), (SLOTS, "169.254.41.1"), (ELSEWHERE, "169.254.42.1"), (ONE, ADDRESS)):
        answer = await approve(host, config)
        assert (answer["inbound"], answer["outbound"]) == ("on", "on")
        assert arrives(host, ears) == at
        held = [line.split()[1] for line in addresses(host).splitlines() if "169.254." in line]
        assert all(one.startswith(at.rpartition(".")[0]) for one in held) and bool(held) is (at != ADDRESS)


@pytest.mark.parametrize("config", [ONE, ELSEWHERE], ids=["one", "elsewhere"])
@pytest.mark.parametrize("slot", list(Slot), ids=lambda slot: slot.value)
async def test_slots_are_not_given_up_while_a_proxy_listens_there_alone(
    two: Host, ears: Listeners, slot: Slot, config: str
) -> None:
    for place in PLACES.values() if slot is Slot.STANDBY else [MAIN]:
        ears.add_slot(two.space, place)
    await on(two)
    await ask(two, "redirect turn", slot=slot.value)
    with pytest.raises(Trouble, match=r"listens at 169\.254\.41\.1 alone") as raised:
        await approve(two, config)
    assert "--restart-proxy" in raised.value.fault.way_out
    assert arrives(two, ears) == str(PLACES[slot].address)
    assert (await ask(two, "redirect check")).get("slot", "main") == slot.value


async def test_slots_that_no_proxy_has_any_more_are_given_up(two: Host, ears: Listeners) -> None:
    """The record of the second slot goes with them."""
    await approve(two, SLOTS)
    Paths(two.prefix).active_slot.write_text("standby\n")
    ears.add_proxy(two.space)
    assert (await approve(two, ONE))["inbound"] == "on"
    assert not Paths(two.prefix).active_slot.exists()
    assert arrives(two, ears) == ADDRESS


async def test_a_connection_between_two_proxies_is_served_late_and_not_refused(two: Host, ears: Listeners) -> None:
    """It comes after the end of one and before the rules of the other: the client's kernel asks again."""
    with Listeners() as first:
        first.add_slot(two.space, MAIN)
        await on(two)
    made = two.peer.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    with made:
        made.setblocking(False)
        assert made.connect_ex((ADDRESS, APP)) == errno.EINPROGRESS
        while "packets 0 " in (rules := two.space.run("nft", "list", "chain", "inet", "fairlead", "unheard")):
            assert "counter" in rules and made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        ears.add_slot(two.space, STANDBY)
        await ask(two, "redirect turn", slot="standby")
        made.settimeout(10)
        with ears.accept() as connection:
            assert connection.getsockname()[0] == str(STANDBY.address)


@contextlib.contextmanager
def dialling_out(host: Host) -> Iterator[socket.socket]:
    """A program of the host whose connection is being made: it has been refused, and has not heard it."""
    made = host.space.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM), 1000)
    with made:
        made.setblocking(False)
        assert made.connect_ex((FAR, APP)) == errno.EINPROGRESS
        while "packets 0 " in (
            chain := host.space.run("nft", "list", "chain", "inet", "fairlead", "outbound_unheard")
        ):
            assert "counter" in chain and made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        made.settimeout(10)
        yield made


async def without_a_proxy(host: Host) -> None:
    """It has ended, and the rules lead there yet."""
    with Listeners() as first:
        first.add_slot(host.space, MAIN)
        await on(host)


async def test_what_the_host_opens_between_two_proxies_is_served_late_and_not_refused(
    two: Host, ears: Listeners
) -> None:
    await without_a_proxy(two)
    with dialling_out(two):
        ears.add_slot(two.space, STANDBY)
        await ask(two, "redirect turn", slot="standby")
        with ears.accept() as connection:
            assert connection.getsockname() == ("127.0.0.1", STANDBY.outbound_port)


async def test_what_the_host_opens_goes_out_by_itself_where_the_failure_policy_is_open(
    two: Host, ears: Listeners
) -> None:
    await without_a_proxy(two)
    ears.add(two.peer, FAR, APP)
    with dialling_out(two):
        await ask(two, "redirect set", inbound="block", outbound="released")
        with ears.accept() as connection:
            assert connection.getsockname() == (FAR, APP)


async def test_what_the_host_opens_is_refused_where_the_failure_policy_is_closed(two: Host) -> None:
    await without_a_proxy(two)
    with dialling_out(two) as made:
        await ask(two, "redirect set", inbound="block", outbound="block")
        ready = select.poll()
        ready.register(made, select.POLLOUT)
        assert ready.poll(10_000)
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    with pytest.raises(ConnectionRefusedError):
        dial(two.space, FAR, APP)


async def test_other_programs_of_the_host_may_refuse_as_before(two: Host) -> None:
    await without_a_proxy(two)
    for port in (APP, STANDBY.outbound_port):
        with pytest.raises(ConnectionRefusedError):
            dial(two.space, "127.0.0.1", port)
        with pytest.raises(ConnectionRefusedError):
            dial(two.space, ADDRESS, port)


@pytest.mark.parametrize("level", ["block", "released"])
async def test_each_direction_has_its_own_rule_for_refusals(two: Host, ears: Listeners, level: str) -> None:
    """So a level of one says nothing of the other's."""
    ears.add_slot(two.space, MAIN)
    await on(two)
    for inbound, outbound in ((level, "on"), ("on", level), ("on", "on")):
        await ask(two, "redirect set", inbound=inbound, outbound=outbound)
        found = await ask(two, "redirect check")
        assert (found["inbound"], found["outbound"]) == (inbound, outbound)
        for chain, held in (("unheard", inbound), ("outbound_unheard", outbound)):
            listed = two.space.run("nft", "list", "chain", "inet", "fairlead", chain)
            assert ("drop" in listed) is (held == "on")


async def test_a_proxy_may_reset_what_it_has_accepted(two: Host, ears: Listeners) -> None:
    ears.add_slot(two.space, MAIN)
    await on(two)
    with dial(two.peer, ADDRESS, APP) as made:
        with ears.accept() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with pytest.raises(ConnectionResetError):
            made.recv(1)


async def test_a_closed_port_is_refused_at_once(two: Host, ears: Listeners) -> None:
    """Where no proxy is expected, nobody waits for one."""
    with Listeners() as first:
        first.add_slot(two.space, MAIN)
        await on(two)
    await ask(two, "redirect block", direction="inbound")
    for port in (APP, INBOUND):
        with pytest.raises(ConnectionRefusedError):
            dial(two.peer, ADDRESS, port)


@pytest.mark.parametrize("slot", list(Slot), ids=lambda slot: slot.value)
async def test_no_neighbour_learns_the_address_of_a_slot(host: Host, ears: Listeners, slot: Slot) -> None:
    """Nobody answers ARP for it, and a packet that comes for it all the same is dropped."""
    host.config.write_text(SLOTS)
    await ask(host, "redirect set", inbound="released", outbound="released")
    ears.add_slot(host.space, PLACES[slot])
    (link,) = {route["dev"] for route in json.loads(host.peer.run("ip", "-j", "route", "get", ADDRESS))}
    host.peer.ip(f"route add {PLACES[slot].address} dev {link}")
    with pytest.raises(OSError, match="No route to host"):
        dial(host.peer, str(PLACES[slot].address), INBOUND)
    host.peer.ip(f"neigh replace {PLACES[slot].address} lladdr {_mac(host)} dev {link} nud permanent")
    with pytest.raises(TimeoutError):
        dial(host.peer, str(PLACES[slot].address), INBOUND, within=1)
    assert ears.silent()


def _mac(host: Host) -> str:
    (route,) = json.loads(host.space.run("ip", "-j", "route", "get", "10.9.0.1"))
    (link,) = json.loads(host.space.run("ip", "-j", "link", "show", "dev", route["dev"]))
    return str(link["address"])


async def test_a_trial_goes_on_through_a_turn_and_ends_at_the_same_slot(two: Host, ears: Listeners) -> None:
    for place in PLACES.values():
        ears.add_slot(two.space, place)
    await on(two)
    two.config.write_text(SLOTS.replace('exempt = ["10.42.0.9:443"]', "exempt = []"))
    assert "trial" in await ask(two, "redirect apply", confirm="600")
    for slot in (Slot.STANDBY, Slot.MAIN, Slot.STANDBY):
        answer = await ask(two, "redirect turn", slot=slot.value)
        assert (answer["inbound"], answer["outbound"]) == ("on", "on")
        assert arrives(two, ears) == str(PLACES[slot].address)
    assert "trial" in await ask(two, "redirect check")
    await ask(two, "redirect revert")
    assert arrives(two, ears) == str(STANDBY.address)
    assert (await ask(two, "redirect check")).get("slot") == "standby"
    assert (await ask(two, "redirect check"))["inbound"] == "on"


async def test_a_turn_lifts_no_suspension(two: Host, ears: Listeners) -> None:
    for place in PLACES.values():
        ears.add_slot(two.space, place)
    await on(two)
    await ask(two, "redirect remove")
    answer = await ask(two, "redirect turn", slot="standby")
    assert (answer["inbound"], "suspended" in answer) == ("released", True)
    with pytest.raises(ConnectionRefusedError):
        ears.heard(two.peer, ADDRESS, APP)
