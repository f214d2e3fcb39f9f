"""The turn of the redirect between two slots, by the privileged helper and real rules."""

import contextlib
import errno
import re
import select
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from agent.core.reasons import Reason
from agent.core.slots import Slot, places
from agent.host import Host as Paths
from agent.ports import Trouble
from tests.privileged.hosts import APP, INBOUND, PROXY_UID, Host, Listeners, dial, kind
from tests.privileged.slotted import ELSEWHERE, Slotted, approve, ask, on


@pytest.fixture
def two(slotted: Slotted) -> Slotted:
    slotted.add_addresses()
    return slotted


async def test_it_turns_to_the_other_slot_and_back_and_open_streams_stay(two: Slotted, ears: Listeners) -> None:
    for place in two.places.values():
        ears.add_slot(two.space, place)
    await on(two)
    assert two.arrives(ears) == str(two.main.address)
    with ears.stream(two.peer, two.family.host, APP) as stream:
        for place, slot in ((two.standby, Slot.STANDBY), (two.main, Slot.MAIN), (two.standby, Slot.STANDBY)):
            answer = await ask(two, "redirect turn", slot=slot.value)
            assert (answer["inbound"], answer["outbound"]) == ("on", "on")
            assert two.arrives(ears) == str(place.address)
            assert (await ask(two, "redirect check")).get("slot", "main") == slot.value
            assert (await ask(two, "redirect check"))["inbound"] == "on"
            stream.flow()
        assert stream.arrived[0] == str(two.main.address)


async def test_the_same_slot_again_changes_nothing(two: Slotted, ears: Listeners) -> None:
    ears.add_slot(two.space, two.main)
    await on(two)
    before = two.space.run("nft", "-s", "-a", "list", "table", "inet", "fairlead")
    await ask(two, "redirect turn", slot="main")
    assert two.space.run("nft", "-s", "-a", "list", "table", "inet", "fairlead") == before


async def refused(host: Host, **words: str) -> Trouble:
    with pytest.raises(Trouble) as raised:
        await ask(host, "redirect turn", **words)
    return raised.value


async def test_it_turns_to_no_proxy_that_is_not_ready(two: Slotted, ears: Listeners) -> None:
    ears.add_slot(two.space, two.main)
    await on(two)
    assert (await refused(two, slot="standby")).reason is Reason.PROXY_LISTENER_ABSENT
    admin = ears.add_slot(two.space, two.standby)
    admin.ready = 503
    assert (await refused(two, slot="standby")).reason is Reason.PROXY_STARTING
    admin.ready, admin.expires = 200, 0.0
    assert (await refused(two, slot="standby")).reason is Reason.PROXY_UNCERTIFIED
    assert two.arrives(ears) == str(two.main.address)


async def test_it_turns_to_no_listener_of_another_user(two: Slotted, ears: Listeners) -> None:
    ears.add_slot(two.space, two.main)
    await on(two)
    ears.add_slot(two.space, two.standby, uid=PROXY_UID + 1)
    assert (await refused(two, slot="standby")).reason is Reason.PROXY_LISTENER_FOREIGN
    assert two.arrives(ears) == str(two.main.address)


async def test_a_closed_port_stays_closed_by_a_turn(two: Slotted, ears: Listeners) -> None:
    for place in two.places.values():
        ears.add_slot(two.space, place)
    await on(two)
    await ask(two, "redirect block", direction="inbound")
    assert (await ask(two, "redirect turn", slot="standby"))["inbound"] == "block"
    with pytest.raises(ConnectionRefusedError):
        ears.heard(two.peer, two.family.host, APP)
    await on(two)
    assert two.arrives(ears) == str(two.standby.address)


async def test_the_rules_of_another_slot_are_repaired(two: Slotted, ears: Listeners) -> None:
    """As after a helper that ended between the rules and the record."""
    for place in two.places.values():
        ears.add_slot(two.space, place)
    await on(two)
    await ask(two, "redirect turn", slot="standby")
    Paths(two.prefix).active_slot.unlink()
    assert (await ask(two, "redirect check"))["inbound"] == "partial"
    assert (await refused(two, slot="standby")).reason is Reason.REDIRECT_FAILED
    await on(two)
    assert two.arrives(ears) == str(two.main.address)


async def test_a_host_with_one_slot_turns_nothing(slotted: Slotted, ears: Listeners) -> None:
    slotted.config.write_text(slotted.one_slot)
    before = slotted.on_lo()
    ears.add_proxy(slotted.space)
    await on(slotted)
    assert "proxy.slots is false" in (await refused(slotted, slot="standby")).detail
    assert slotted.on_lo() == before
    rules = slotted.space.run("nft", "list", "table", "inet", "fairlead")
    assert "chain direct" not in rules and "chain slots" not in rules


async def test_a_proxy_that_listens_on_every_address_serves_before_its_restart(
    slotted: Slotted, ears: Listeners
) -> None:
    """As after the configuration has got slots."""
    ears.add_proxy(slotted.space)
    await on(slotted)
    assert slotted.arrives(ears) == str(slotted.main.address)


# an edited configuration ------------------------------------------------------------------------------


async def test_slots_are_approved_while_the_proxy_listens_on_every_address(
    slotted: Slotted, ears: Listeners
) -> None:
    """It is reached by the rules of both, in both directions of the change."""
    ears.add_proxy(slotted.space)
    before, elsewhere = slotted.on_lo(), places(ip_network(ELSEWHERE[slotted.family.version]))
    for config, its in (
        (slotted.one_slot, {}),
        (slotted.text, slotted.places),
        (slotted.elsewhere, elsewhere),
        (slotted.one_slot, {}),
    ):
        answer = await approve(slotted, config)
        assert (answer["inbound"], answer["outbound"]) == ("on", "on")
        assert slotted.arrives(ears) == (str(its[Slot.MAIN].address) if its else slotted.family.host)
        assert slotted.on_lo() - before == {place.address for place in its.values()}


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one", "elsewhere"])
@pytest.mark.parametrize("slot", list(Slot), ids=lambda slot: slot.value)
async def test_slots_are_not_given_up_while_a_proxy_listens_there_alone(
    two: Slotted, ears: Listeners, slot: Slot, elsewhere: bool
) -> None:
    for place in two.places.values() if slot is Slot.STANDBY else [two.main]:
        ears.add_slot(two.space, place)
    await on(two)
    await ask(two, "redirect turn", slot=slot.value)
    with pytest.raises(Trouble, match=re.escape(f"listens at {two.main.address} alone")) as raised:
        await approve(two, two.elsewhere if elsewhere else two.one_slot)
    assert "--restart-proxy" in raised.value.fault.way_out
    assert two.arrives(ears) == str(two.places[slot].address)
    assert (await ask(two, "redirect check")).get("slot", "main") == slot.value


async def test_slots_that_no_proxy_has_any_more_are_given_up(two: Slotted, ears: Listeners) -> None:
    """The record of the second slot goes with them."""
    await approve(two, two.text)
    Paths(two.prefix).active_slot.write_text("standby\n")
    ears.add_proxy(two.space)
    assert (await approve(two, two.one_slot))["inbound"] == "on"
    assert not Paths(two.prefix).active_slot.exists()
    assert two.arrives(ears) == two.family.host


async def test_a_connection_between_two_proxies_is_served_late_and_not_refused(
    two: Slotted, ears: Listeners
) -> None:
    """It comes after the end of one and before the rules of the other: the client's kernel asks again."""
    with Listeners() as first:
        first.add_slot(two.space, two.main)
        await on(two)
    made = two.peer.inside(lambda: socket.socket(kind(two.family.host)))
    with made:
        made.setblocking(False)
        assert made.connect_ex((two.family.host, APP)) == errno.EINPROGRESS
        while "packets 0 " in (rules := two.space.run("nft", "list", "chain", "inet", "fairlead", "unheard")):
            assert "counter" in rules and made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        ears.add_slot(two.space, two.standby)
        await ask(two, "redirect turn", slot="standby")
        made.settimeout(10)
        with ears.accept() as connection:
            assert connection.getsockname()[0] == str(two.standby.address)


@contextlib.contextmanager
def dialling_out(host: Slotted) -> Iterator[socket.socket]:
    """A program of the host whose connection is being made: it has been refused, and has not heard it."""
    made = host.space.inside(lambda: socket.socket(kind(host.family.host)), 1000)
    with made:
        made.setblocking(False)
        assert made.connect_ex((host.family.cluster, APP)) == errno.EINPROGRESS
        while "packets 0 " in (
            chain := host.space.run("nft", "list", "chain", "inet", "fairlead", "outbound_unheard")
        ):
            assert "counter" in chain and made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        made.settimeout(10)
        yield made


async def without_a_proxy(host: Slotted) -> None:
    """It has ended, and the rules lead there yet."""
    with Listeners() as first:
        first.add_slot(host.space, host.main)
        await on(host)


async def test_what_the_host_opens_between_two_proxies_is_served_late_and_not_refused(
    two: Slotted, ears: Listeners
) -> None:
    await without_a_proxy(two)
    with dialling_out(two):
        ears.add_slot(two.space, two.standby)
        await ask(two, "redirect turn", slot="standby")
        with ears.accept() as connection:
            assert connection.getsockname()[:2] == (two.family.loopback, two.standby.outbound_port)


async def test_what_the_host_opens_goes_out_by_itself_where_the_failure_policy_is_open(
    two: Slotted, ears: Listeners
) -> None:
    await without_a_proxy(two)
    ears.add(two.peer, two.family.cluster, APP)
    with dialling_out(two):
        await ask(two, "redirect set", inbound="block", outbound="released")
        with ears.accept() as connection:
            assert connection.getsockname()[:2] == (two.family.cluster, APP)


async def test_what_the_host_opens_is_refused_where_the_failure_policy_is_closed(two: Slotted) -> None:
    await without_a_proxy(two)
    with dialling_out(two) as made:
        await ask(two, "redirect set", inbound="block", outbound="block")
        ready = select.poll()
        ready.register(made, select.POLLOUT)
        assert ready.poll(10_000)
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    with pytest.raises(ConnectionRefusedError):
        dial(two.space, two.family.cluster, APP)


async def test_other_programs_of_the_host_may_refuse_as_before(two: Slotted) -> None:
    await without_a_proxy(two)
    for port in (APP, two.standby.outbound_port):
        with pytest.raises(ConnectionRefusedError):
            dial(two.space, two.family.loopback, port)
        with pytest.raises(ConnectionRefusedError):
            dial(two.space, two.family.host, port)


@pytest.mark.parametrize("level", ["block", "released"])
async def test_each_direction_has_its_own_rule_for_refusals(two: Slotted, ears: Listeners, level: str) -> None:
    """So a level of one says nothing of the other's."""
    ears.add_slot(two.space, two.main)
    await on(two)
    for inbound, outbound in ((level, "on"), ("on", level), ("on", "on")):
        await ask(two, "redirect set", inbound=inbound, outbound=outbound)
        found = await ask(two, "redirect check")
        assert (found["inbound"], found["outbound"]) == (inbound, outbound)
        for chain, held in (("unheard", inbound), ("outbound_unheard", outbound)):
            listed = two.space.run("nft", "list", "chain", "inet", "fairlead", chain)
            assert ("drop" in listed) is (held == "on")


async def test_a_proxy_may_reset_what_it_has_accepted(two: Slotted, ears: Listeners) -> None:
    ears.add_slot(two.space, two.main)
    await on(two)
    with dial(two.peer, two.family.host, APP) as made:
        with ears.accept() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with pytest.raises(ConnectionResetError):
            made.recv(1)


async def test_a_closed_port_is_refused_at_once(two: Slotted, ears: Listeners) -> None:
    """Where no proxy is expected, nobody waits for one."""
    with Listeners() as first:
        first.add_slot(two.space, two.main)
        await on(two)
    await ask(two, "redirect block", direction="inbound")
    for port in (APP, INBOUND):
        with pytest.raises(ConnectionRefusedError):
            dial(two.peer, two.family.host, port)


async def test_a_trial_goes_on_through_a_turn_and_ends_at_the_same_slot(two: Slotted, ears: Listeners) -> None:
    for place in two.places.values():
        ears.add_slot(two.space, place)
    await on(two)
    two.config.write_text(re.sub("exempt = .*", "exempt = []", two.text))
    assert "trial" in await ask(two, "redirect apply", confirm="600")
    for slot in (Slot.STANDBY, Slot.MAIN, Slot.STANDBY):
        answer = await ask(two, "redirect turn", slot=slot.value)
        assert (answer["inbound"], answer["outbound"]) == ("on", "on")
        assert two.arrives(ears) == str(two.places[slot].address)
    assert "trial" in await ask(two, "redirect check")
    await ask(two, "redirect revert")
    assert two.arrives(ears) == str(two.standby.address)
    assert (await ask(two, "redirect check")).get("slot") == "standby"
    assert (await ask(two, "redirect check"))["inbound"] == "on"


async def test_a_turn_lifts_no_suspension(two: Slotted, ears: Listeners) -> None:
    for place in two.places.values():
        ears.add_slot(two.space, place)
    await on(two)
    await ask(two, "redirect remove")
    answer = await ask(two, "redirect turn", slot="standby")
    assert (answer["inbound"], "suspended" in answer) == ("released", True)
    with pytest.raises(ConnectionRefusedError):
        ears.heard(two.peer, two.family.host, APP)
