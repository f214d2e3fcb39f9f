"""What the decision says of a host with two slots, over every phase, stage and state of both proxies."""

import dataclasses
import itertools
from collections.abc import Iterator

import pytest

from agent.core import facts as f
from agent.core import policy, snapshot
from agent.core.goals import Advertise, Goals, ProxyGoal, RedirectGoal
from agent.core.policy_drain import quiet
from agent.core.policy_slots import remark
from agent.core.reasons import Fault, Reason
from agent.core.replacement import ENDS, Replacement, Stage
from agent.core.slots import Slot
from agent.core.standings import proved
from tests.core import world
from tests.core.world import NOW, SPEC

SLOTS = dataclasses.replace(SPEC, slots=True)
STATES = (None, "ready", "starting", "stopped")
PHASES = ("member", "drained", "left")


def facts_of(main: str | None, standby: str | None, active: Slot, change: Replacement | None) -> f.Facts:
    found = world.settled(
        f.Facts(
            identity=world.identity("usable"),
            proxy=world.proxy(main),
            redirect=f.RedirectFact(f.Level.ON, f.Level.ON, slot=active),
            probes=world.probes("pass"),
            workload=world.workload("True"),
            lease=f.LeaseFact("boot1"),
            agent=f.AgentFact(NOW - 1.0),
            slices=world.slices(settled=False),
            anchors=world.ANCHORED,
        )
    )
    return dataclasses.replace(found, addresses=world.PRESENT, standby=world.proxy(standby), replacement=change)


def changes() -> Iterator[Replacement | None]:
    yield None
    for stage in Stage:
        yield Replacement("2.366.0", "2.360.0", stage, since=NOW - 1.0, covered=True)


POINTS = list(itertools.product(PHASES, STATES, STATES, Slot, changes()))


def decided(word: str, facts: f.Facts) -> Goals:
    return policy.decide(SLOTS, world.phase(word), facts, NOW).goals


def test_every_point() -> None:
    for word, main, standby, active, change in POINTS:
        facts = facts_of(main, standby, active, change)
        goals = decided(word, facts)
        where = (word, main, standby, active, change)
        serves = proved(facts.serving, NOW) is True
        if goals.slot not in (None, active):
            target = facts.proxy if goals.slot is Slot.MAIN else facts.standby
            assert proved(target, NOW) is True, where
            assert (goals.inbound, goals.outbound) == (RedirectGoal.HOLD, RedirectGoal.HOLD), where
        if goals.advertise is Advertise.YES:
            assert word == "member" and serves, where
        if word != "left" and active is Slot.MAIN and proved(facts.proxy, NOW) is True:
            assert goals.proxy is not ProxyGoal.STOPPED, where
        if word != "left" and active is Slot.STANDBY and serves:
            assert goals.standby is not ProxyGoal.STOPPED, where
        if word == "left" and goals.proxy is ProxyGoal.STOPPED:
            assert goals.standby is ProxyGoal.STOPPED, where


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage not in ENDS], ids=lambda stage: stage.value)
def test_a_covered_replacement_takes_nothing_from_a_host_that_serves(stage: Stage) -> None:
    change = Replacement("2.366.0", "2.360.0", stage, since=NOW - 1.0, covered=True)
    for active, main, standby in ((Slot.MAIN, "ready", "starting"), (Slot.STANDBY, "stopped", "ready")):
        goals = decided("member", facts_of(main, standby, active, change))
        assert goals.advertise is Advertise.YES


@pytest.mark.parametrize("active", Slot)
def test_it_does_not_turn_to_a_proxy_that_the_policy_controller_has_not_answered(active: Slot) -> None:
    """While the named one serves: the other could not carry what the host opens yet."""
    stage = Stage.COVERING if active is Slot.MAIN else Stage.STARTING
    change = Replacement("2.366.0", "2.360.0", stage, since=NOW - 1.0, covered=True)
    facts = facts_of("ready", "ready", active, change)
    assert decided("member", facts).slot is not active
    new = world.proxy("ready", answered=False)
    waiting = with_other(facts, active, new)
    assert decided("member", waiting).slot is active
    alone = with_other(facts_of("stopped", "stopped", active, change), active, new)
    assert decided("member", alone).slot is not active  # better than nothing


def with_other(facts: f.Facts, active: Slot, new: f.Maybe[f.ProxyFact]) -> f.Facts:
    if active is Slot.MAIN:
        return dataclasses.replace(facts, standby=new)
    return dataclasses.replace(facts, proxy=new)


def test_a_drained_host_stays_drained_while_it_is_covered() -> None:
    for change in changes():
        goals = decided("drained", facts_of("ready", "ready", Slot.MAIN, change))
        assert goals.advertise is Advertise.NO


def test_a_host_with_one_slot_has_no_goal_for_a_second() -> None:
    for word, main in itertools.product(PHASES, STATES):
        goals = policy.decide(SPEC, world.phase(word), facts_of(main, None, Slot.MAIN, None), NOW).goals
        assert (goals.slot, goals.standby) == (None, ProxyGoal.HOLD)


@pytest.mark.parametrize("active", list(Slot), ids=lambda slot: slot.value)
def test_a_kept_standby_waits_until_main_has_left_its_place(active: Slot) -> None:
    """A main from before there were slots listens on every address, and a second proxy would end at once."""
    kept = dataclasses.replace(SLOTS, standby=True)
    facts = facts_of("ready", "stopped", active, None)
    assert not isinstance(facts.proxy, f.Unknown)

    def goal(main: f.Maybe[f.ProxyFact]) -> ProxyGoal:
        found = dataclasses.replace(facts, proxy=main)
        return policy.decide(kept, world.phase("member"), found, NOW).goals.standby

    assert goal(facts.proxy) is ProxyGoal.RUNNING
    expected = {Slot.MAIN: (ProxyGoal.STOPPED, ProxyGoal.HOLD), Slot.STANDBY: (ProxyGoal.RUNNING,) * 2}
    assert goal(dataclasses.replace(facts.proxy, everywhere=True)) is expected[active][0]
    assert goal(f.UNKNOWN) is expected[active][1]


@pytest.mark.parametrize("active", list(Slot), ids=lambda slot: slot.value)
def test_a_proxy_that_could_not_take_over_is_a_warning_and_is_never_named(active: Slot) -> None:
    kept = dataclasses.replace(SLOTS, standby=True)
    for state in STATES[1:]:
        states = ("ready", state) if active is Slot.MAIN else (state, "ready")
        facts = facts_of(*states, active, None)
        found = [fault.reason for fault in snapshot.problems(kept, facts, NOW, world.phase("member"))]
        assert found == ([] if state == "ready" else [Reason.STANDBY_NOT_READY])
        assert (state == "ready") or decided("member", facts).slot is active
        assert list(snapshot.problems(SLOTS, facts, NOW, world.phase("member"))) == []


def test_nobody_misses_a_standby_while_it_is_replaced_or_nothing_serves() -> None:
    kept = dataclasses.replace(SLOTS, standby=True)
    for change in changes():
        facts = facts_of("ready", "stopped", Slot.MAIN, change)
        expected = change is None or (change.over and change.stage is not Stage.RENEWING)
        assert (remark(kept, facts, NOW) is not None) is expected
    assert remark(kept, facts_of("stopped", "stopped", Slot.MAIN, None), NOW) is None


def test_a_main_from_before_there_were_slots_is_named_as_the_cause() -> None:
    facts = facts_of("ready", "stopped", Slot.MAIN, None)
    assert not isinstance(facts.proxy, f.Unknown)
    facts = dataclasses.replace(facts, proxy=dataclasses.replace(facts.proxy, everywhere=True))
    fault = remark(dataclasses.replace(SLOTS, standby=True), facts, NOW)
    assert fault is not None and "fairlead proxy restart" in fault.detail


@pytest.mark.parametrize("active", list(Slot), ids=lambda slot: slot.value)
def test_ready_stays_while_the_redirect_turns_to_a_proxy_that_is_ready(active: Slot) -> None:
    """The one that served has died; the takeover needs 20 ms, and the agent learns of it later."""
    dead, alive = "stopped", "ready"
    facts = facts_of(*((dead, alive) if active is Slot.MAIN else (alive, dead)), active, None)
    goals = decided("member", facts)
    assert (goals.slot is not active, goals.advertise) == (True, Advertise.HOLD)
    assert decided("drained", facts).advertise is Advertise.NO
    assert not isinstance(facts.redirect, f.Unknown)
    refused = dataclasses.replace(facts.redirect, fault=Fault(Reason.REDIRECT_FAILED))
    assert decided("member", dataclasses.replace(facts, redirect=refused)).advertise is Advertise.NO
    assert decided("member", facts_of(dead, dead, active, None)).advertise is Advertise.NO


@pytest.mark.parametrize("main", STATES[1:])
def test_an_agent_that_has_not_read_the_rules_closes_nothing(main: str) -> None:
    """The standby may serve: a main that does not run says nothing then."""
    for change in changes():
        facts = facts_of(main, "ready", Slot.STANDBY, change)
        for rules in (f.UNKNOWN, f.RedirectFact(fault=Fault(Reason.REDIRECT_FAILED))):
            goals = decided("member", dataclasses.replace(facts, redirect=rules))
            assert (goals.inbound, goals.outbound) == (RedirectGoal.HOLD, RedirectGoal.HOLD)
            assert goals.slot is None and goals.proxy is not ProxyGoal.STOPPED
            if rules is f.UNKNOWN:
                assert goals.advertise is not Advertise.NO


def test_a_host_is_quiet_once_the_proxies_of_both_slots_are() -> None:
    """A stream that was accepted before the redirect turned is in the other one."""
    for main, standby in itertools.product((0, 3), repeat=2):
        facts = facts_of("ready", "ready", Slot.STANDBY, None)
        both = world.proxy("ready", main), world.proxy("stopping", standby)
        assert quiet(SPEC, dataclasses.replace(facts, proxy=both[0], standby=both[1])) is (main == standby == 0)
    assert quiet(SPEC, facts_of("stopped", "stopped", Slot.MAIN, None))
    assert quiet(SPEC, facts_of("stopped", None, Slot.MAIN, None)), "a host with one slot"


def test_a_standby_for_which_nothing_is_prepared_is_a_warning_that_says_what_helps() -> None:
    """The program that takes over uses nothing but what is prepared."""
    kept = dataclasses.replace(SLOTS, standby=True)
    every: tuple[f.Maybe[str], ...] = (f.UNKNOWN, "", "/etc/passwd has changed")
    for prepared, active in ((one, slot) for one in every for slot in Slot):
        facts = dataclasses.replace(facts_of("ready", "ready", active, None), prepared=prepared)
        found = remark(kept, facts, NOW)
        if prepared and active is Slot.MAIN and prepared is not f.UNKNOWN:
            assert found is not None and found.reason is Reason.STANDBY_NOT_READY
            assert "/etc/passwd has changed" in found.detail and found.remedy == "fairlead redirect apply"
        else:
            assert found is None
        assert remark(SLOTS, facts, NOW) is None, "none is kept"
