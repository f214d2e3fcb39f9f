"""Which slot of the proxy the redirect names, over every case; and every interruption of a covered replacement."""

import itertools
from dataclasses import replace
from ipaddress import ip_network

import pytest

from agent.core.facts import UNKNOWN, Maybe
from agent.core.replacement import (
    ENDS,
    TRANSITIONS,
    Illegal,
    News,
    Replacement,
    Stage,
    after,
    recalled,
    remembered,
)
from agent.core.slots import Slot, named, needed, places, room, serves, why_not

MAYBE: tuple[Maybe[bool], ...] = (True, False, UNKNOWN)
CASES = list(itertools.product(Slot, MAYBE, MAYBE, (False, True)))


@pytest.mark.parametrize(("active", "main", "standby", "leaving"), CASES)
def test_the_redirect_leaves_a_slot_only_for_one_that_is_proved_ready(
    active: Slot, main: Maybe[bool], standby: Maybe[bool], leaving: bool
) -> None:
    slot = named(active, main, standby, leaving=leaving)
    if slot is not active:
        assert serves(slot, main, standby) is True
    if serves(active, main, standby) is UNKNOWN and not leaving and active is Slot.MAIN:
        assert slot is active


@pytest.mark.parametrize(("active", "main", "standby", "leaving"), CASES)
def test_it_settles_at_once(active: Slot, main: Maybe[bool], standby: Maybe[bool], leaving: bool) -> None:
    """The same facts twice change nothing more."""
    slot = named(active, main, standby, leaving=leaving)
    assert named(slot, main, standby, leaving=leaving) is slot


@pytest.mark.parametrize(("active", "standby"), list(itertools.product(Slot, MAYBE)))
def test_it_comes_back_to_main(active: Slot, standby: Maybe[bool]) -> None:
    assert named(active, True, standby, leaving=False) is Slot.MAIN


@pytest.mark.parametrize(("active", "main"), list(itertools.product(Slot, MAYBE)))
def test_a_main_that_is_to_stop_is_not_named_where_the_standby_is_ready(active: Slot, main: Maybe[bool]) -> None:
    assert named(active, main, True, leaving=True) is Slot.STANDBY


@pytest.mark.parametrize(("active", "main"), list(itertools.product(Slot, MAYBE)))
def test_what_a_main_that_is_to_stop_says_decides_nothing_before_the_standby_is_read(
    active: Slot, main: Maybe[bool]
) -> None:
    assert named(active, main, UNKNOWN, leaving=True) is active


@pytest.mark.parametrize(("active", "main", "standby", "leaving"), CASES)
def test_new_connections_reach_a_ready_proxy_wherever_there_is_one(
    active: Slot, main: Maybe[bool], standby: Maybe[bool], leaving: bool
) -> None:
    """Where every state is known."""
    if UNKNOWN not in (main, standby) and True in (main, standby):
        assert serves(named(active, main, standby, leaving=leaving), main, standby) is True


def test_a_standby_runs_while_it_is_named_or_about_to_be() -> None:
    for active, leaving, kept in itertools.product(Slot, (False, True), (False, True)):
        assert needed(active, leaving=leaving, kept=kept) is (active is Slot.STANDBY or leaving or kept)


@pytest.mark.parametrize("text", ["169.254.7.0/30", "fd12:3456:789a::/64", "fd12:3456:789a::/126"])
def test_the_places_of_the_slots_share_nothing(text: str) -> None:
    network = ip_network(text)
    both = list(places(network).values())
    assert [place.address for place in both] == [network[1], network[2]]
    assert len({place.outbound_port for place in both} | {place.admin_port for place in both}) == 4


@pytest.mark.parametrize(
    ("versions", "backend", "redirected", "why"),
    [
        ({4}, "auto", True, ""),
        ({4}, "nftables", True, ""),
        ({4}, "iptables-nft", True, "iptables-nft"),
        ({6}, "auto", True, ""),
        ({6}, "iptables-legacy", True, "iptables-legacy"),
        ({4, 6}, "auto", True, "one inbound listen address"),
        ({4}, "auto", False, "redirect.mode"),
    ],
    ids=["auto", "nftables", "iptables", "IPv6", "IPv6 iptables", "both", "off"],
)
def test_why_a_host_has_one_slot(versions: set[int], backend: str, redirected: bool, why: str) -> None:
    found = why_not(frozenset(versions), backend, redirected=redirected)
    assert why in found and bool(found) is bool(why)


def test_a_second_proxy_needs_as_much_as_the_first() -> None:
    assert room(100 << 20, 30 << 20) == ""
    assert room(60 << 20, 30 << 20) == "a second proxy may need 62 MiB, and 60 MiB are left"


# the stages -----------------------------------------------------------------------------------------

BEGUN = Replacement("2.366.0", "2.360.0", Stage.PREPARING, covered=True)


def walks(change: Replacement) -> list[list[Replacement]]:
    """Every way to an end."""
    if change.over:
        return [[change]]
    ways = [after(change, news, 1.0) for news in News if (change.stage, news) in TRANSITIONS]
    return [[change, *rest] for way in ways for rest in walks(way)]


def test_every_way_ends_and_nothing_is_touched_before_the_standby_serves() -> None:
    for way in walks(BEGUN):
        stages = [change.stage for change in way]
        assert stages[-1] in ENDS
        assert Stage.STARTING not in stages or stages.index(Stage.COVERING) < stages.index(Stage.LEAVING)
        if Stage.LEAVING not in stages:
            assert stages[-1] is Stage.BACK_AGAIN
        for change in way:
            assert change.covered
            assert change.leaving is (change.stage in (Stage.COVERING, Stage.LEAVING, Stage.GOING_BACK))


def test_what_cannot_happen_in_a_stage_raises() -> None:
    for stage, news in itertools.product(Stage, News):
        if (stage, news) not in TRANSITIONS:
            with pytest.raises(Illegal):
                after(replace(BEGUN, stage=stage), news, 1.0)


@pytest.mark.parametrize("stage", list(Stage), ids=[stage.value for stage in Stage])
def test_an_agent_that_follows_knows_the_stage_and_that_it_is_covered(stage: Stage) -> None:
    change = replace(BEGUN, stage=stage, since=5.0)
    assert recalled(remembered(change, 95.0, "boot"), 15.0, 105.0, "boot") == change


def test_a_record_from_before_there_were_slots_is_of_a_drained_one() -> None:
    record = remembered(replace(BEGUN, stage=Stage.LEAVING, covered=False), 95.0, "boot")
    del record["covered"]
    found = recalled(record, 15.0, 105.0, "boot")
    assert found is not None and not found.covered
