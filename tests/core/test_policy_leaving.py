"""The decision about a host that drains: drain, leave, shutdown, and the replacement of its proxy."""

import dataclasses

import pytest

from agent.core import conditions, policy
from agent.core import facts as f
from agent.core.failure import Failure
from agent.core.goals import Advertise, ProxyGoal, RedirectGoal
from agent.core.policy_drain import HEARD_WITHIN, has_drained
from agent.core.reasons import Fault, Reason
from agent.core.replacement import Replacement, Stage
from tests.core import world
from tests.core.test_policy import BLIND, READY, decide, serving
from tests.core.world import JUST_NOW, LONG_AGO, NOW, SPEC


def test_shutdown_leaves_closed_ports_closed() -> None:
    gone = serving(proxy=world.proxy("stopped"), redirect=world.redirect("block", "released"))
    facts = dataclasses.replace(gone, workload=world.workload("False", settled=True), slices=world.slices(True))
    assert decide(facts, kind=f.PhaseKind.SHUTTING_DOWN).inbound is RedirectGoal.BLOCK
    assert decide(facts, kind=f.PhaseKind.LEFT).inbound is RedirectGoal.OFF


LISTED, UNLISTED = f.SlicesFact(listed=True), f.SlicesFact(False, LONG_AGO)
JUST_UNLISTED = f.SlicesFact(False, NOW - HEARD_WITHIN / 2)
API_AWAY = f.SlicesFact(fault=Fault(Reason.API_UNREACHABLE))
TOLD, JUST_TOLD = world.workload("False", settled=True), world.workload("False")


@pytest.mark.parametrize(
    ("workload", "slices", "drained"),
    [
        (TOLD, f.UNKNOWN, False),
        (TOLD, f.SlicesFact(), False),
        (TOLD, LISTED, False),
        (TOLD, JUST_UNLISTED, False),
        (TOLD, UNLISTED, True),
        (JUST_TOLD, UNLISTED, True),
        # Without the right to see, time to hear must do; an API server that is away says nothing of the mesh.
        (TOLD, BLIND, True),
        (JUST_TOLD, BLIND, False),
        (TOLD, API_AWAY, False),
        (world.workload("True"), UNLISTED, False),
        (world.workload("missing"), f.UNKNOWN, True),
        (world.workload("away"), UNLISTED, False),
    ],
)
def test_a_drain_waits_for_what_the_mesh_was_told(
    workload: f.WorkloadFact, slices: f.Maybe[f.SlicesFact], drained: bool
) -> None:
    facts = serving(workload=workload, slices=slices)
    for kind in (f.PhaseKind.DRAINED, f.PhaseKind.LEFT, f.PhaseKind.SHUTTING_DOWN):
        assert has_drained(SPEC, f.Phase(kind, JUST_NOW), facts, NOW) is drained
    assert not has_drained(SPEC, f.Phase(f.PhaseKind.MEMBER), facts, NOW)


@pytest.mark.parametrize("workload", [f.UNKNOWN, world.workload("away"), world.workload("True")])
def test_a_shutdown_without_a_proxy_gives_the_api_server_only_its_time_to_hear(
    workload: f.Maybe[f.WorkloadFact],
) -> None:
    """Nothing is in flight, and the next boot inherits nothing; only `leave` must be published."""
    gone = serving(proxy=world.proxy("stopped"), workload=workload, slices=API_AWAY)
    asked = f.Phase(f.PhaseKind.SHUTTING_DOWN, NOW)
    assert not has_drained(SPEC, asked, gone, NOW + SPEC.settle - 0.01)
    verdict = policy.decide(SPEC, asked, gone, NOW)
    assert verdict.recheck_after == SPEC.settle and verdict.goals.proxy is ProxyGoal.HOLD
    assert has_drained(SPEC, asked, gone, NOW + SPEC.settle)
    assert policy.decide(SPEC, asked, gone, NOW + SPEC.settle).goals.proxy is ProxyGoal.DRAINED
    serves = dataclasses.replace(gone, proxy=READY)
    assert not has_drained(SPEC, asked, serves, NOW + SPEC.settle)
    for kind in (f.PhaseKind.DRAINED, f.PhaseKind.LEFT):
        assert not has_drained(SPEC, f.Phase(kind, NOW), gone, NOW + SPEC.settle)


def test_a_drain_waits_for_the_last_connection() -> None:
    phase = f.Phase(f.PhaseKind.DRAINED, JUST_NOW)
    busy = serving(workload=TOLD, slices=UNLISTED, proxy=world.proxy("ready", flying=1))
    assert not has_drained(SPEC, phase, busy, NOW)
    assert policy.decide(SPEC, phase, busy, NOW).goals.proxy is ProxyGoal.RUNNING


@pytest.mark.parametrize(("read", "drained"), [(-0.001, False), (0.0, True)])
def test_a_count_from_before_the_last_dial_says_nothing(read: float, drained: bool) -> None:
    """A steady proxy is read every 10 s, and a request may have come since."""
    facts, phase = serving(), f.Phase(f.PhaseKind.SHUTTING_DOWN, LONG_AGO)
    slices = f.SlicesFact(unlisted_since=NOW - HEARD_WITHIN)
    assert facts.workload is not f.UNKNOWN and facts.proxy is not f.UNKNOWN
    workload = dataclasses.replace(facts.workload, unready_since=NOW - HEARD_WITHIN)
    proxy = dataclasses.replace(facts.proxy, in_flight=0, counted_at=NOW + read)
    facts = dataclasses.replace(facts, slices=slices, workload=workload, proxy=proxy)
    assert has_drained(SPEC, phase, facts, NOW) is drained
    standby = dataclasses.replace(proxy, counted_at=NOW - 1.0)
    assert not has_drained(SPEC, phase, dataclasses.replace(facts, standby=standby), NOW)


def test_a_shutdown_drains_and_leaves_the_proxy_to_systemd() -> None:
    """Applications stop after the drain and before the proxy, and may need it till then."""
    facts = serving(workload=TOLD, slices=UNLISTED)
    goals = decide(facts, kind=f.PhaseKind.SHUTTING_DOWN)
    assert (goals.proxy, goals.inbound, goals.outbound) == (ProxyGoal.DRAINED, RedirectGoal.ON, RedirectGoal.ON)
    assert decide(facts, kind=f.PhaseKind.LEFT).outbound is RedirectGoal.RELEASED
    gone = dataclasses.replace(facts, proxy=world.proxy("stopping"))
    assert decide(gone, kind=f.PhaseKind.SHUTTING_DOWN).outbound is RedirectGoal.RELEASED


def test_what_leaves_is_open_in_both_directions_before_its_proxy_stops() -> None:
    """With every failure policy: connections that the proxy no longer serves are made without it."""
    closed = dataclasses.replace(SPEC, outbound_failure=Failure.CLOSED)
    facts = serving(workload=TOLD, slices=UNLISTED)
    goals = decide(facts, closed, f.PhaseKind.LEFT)
    assert (goals.proxy, goals.inbound, goals.outbound) == (
        ProxyGoal.DRAINED,
        RedirectGoal.RELEASED,
        RedirectGoal.RELEASED,
    )
    for levels in (("on", "released"), ("released", "on")):
        half = dataclasses.replace(facts, redirect=world.redirect(*levels))
        assert decide(half, closed, f.PhaseKind.LEFT).proxy is ProxyGoal.DRAINED
    both = dataclasses.replace(facts, redirect=world.redirect("released", "released"))
    assert decide(both, closed, f.PhaseKind.LEFT).proxy is ProxyGoal.STOPPED


def test_what_may_start_any_moment_is_not_gone() -> None:
    stopped = world.proxy("stopped")
    assert isinstance(stopped, f.ProxyFact)
    facts = serving(workload=TOLD, slices=UNLISTED, proxy=dataclasses.replace(stopped, launching=True))
    assert decide(facts, kind=f.PhaseKind.LEFT).inbound is RedirectGoal.RELEASED
    assert decide(dataclasses.replace(facts, proxy=stopped), kind=f.PhaseKind.LEFT).inbound is RedirectGoal.OFF


OFF, RELEASED, HOLD = RedirectGoal.OFF, RedirectGoal.RELEASED, RedirectGoal.HOLD


@pytest.mark.parametrize(
    ("proxy", "live", "goal"),
    [
        ("stopped", "off", HOLD),
        ("ready", "off", HOLD),
        (None, "off", HOLD),
        ("stopped", "released", RELEASED),
        ("ready", "released", RELEASED),
        ("stopped", "block", RELEASED),
        (None, "block", RELEASED),
        ("ready", "block", RELEASED),
        (None, "on", HOLD),
        ("ready", "on", RedirectGoal.ON),
        ("stopped", "on", RELEASED),
        ("ready", None, HOLD),
        ("stopped", None, HOLD),
    ],
)
def test_a_host_that_leaves_closes_nothing_while_the_api_server_is_away(
    proxy: str | None, live: str | None, goal: RedirectGoal
) -> None:
    """A new agent does not know what was published; that is no ground to close a port."""
    away = serving(
        proxy=world.proxy(proxy),
        redirect=world.redirect(live, live),
        workload=world.workload("away"),
        slices=API_AWAY,
    )
    goals = decide(away, kind=f.PhaseKind.LEFT)
    assert (goals.proxy, goals.inbound, goals.outbound) == (ProxyGoal.HOLD, goal, goal)


@pytest.mark.parametrize("proxy", [None, "stopped", "ready"])
@pytest.mark.parametrize("live", [None, "off", "released"])
def test_a_shutdown_leaves_open_ports_open(proxy: str | None, live: str | None) -> None:
    facts = serving(proxy=world.proxy(proxy), redirect=world.redirect(live, live))
    goals = decide(facts, kind=f.PhaseKind.SHUTTING_DOWN)
    assert (goals.inbound, goals.outbound) == (HOLD, HOLD)


def test_a_replacement_whose_proxy_is_stopped_drains_nothing() -> None:
    """An agent that was killed in between goes on, though it does not know what was published."""
    facts = serving(
        replacement=Replacement("2.366.0", "2.360.0", Stage.LEAVING, since=NOW),
        proxy=world.proxy("stopped"),
        redirect=world.redirect("block", "released"),
        workload=world.workload("away"),
        slices=API_AWAY,
    )
    assert decide(facts).proxy is ProxyGoal.STOPPED


def test_the_limit_of_a_replacements_drain_is_waited_for() -> None:
    change = Replacement("2.366.0", "2.360.0", Stage.LEAVING, since=NOW - 1)
    facts = serving(replacement=change, workload=world.workload("True"))
    verdict = policy.decide(SPEC, f.Phase(f.PhaseKind.MEMBER, LONG_AGO), facts, NOW)
    assert verdict.recheck_after == SPEC.drain_timeout - 1


def test_the_moment_at_which_peers_have_heard_is_waited_for() -> None:
    facts = serving(workload=TOLD, slices=f.SlicesFact(False, NOW))
    verdict = policy.decide(SPEC, f.Phase(f.PhaseKind.LEFT, JUST_NOW), facts, NOW)
    assert verdict.recheck_after == HEARD_WITHIN


def retiring(fact: f.Maybe[f.WorkloadFact]) -> f.WorkloadFact:
    assert fact is not f.UNKNOWN and fact.seen is not None
    return dataclasses.replace(fact, seen=dataclasses.replace(fact.seen, retiring=True))


def test_a_host_that_is_retired_drains_and_keeps_its_proxy() -> None:
    """An operator wrote so into the ExternalWorkload; the host itself gives Ready up, as in a drain."""
    facts, member = serving(workload=retiring(world.workload("True"))), f.Phase(f.PhaseKind.MEMBER)
    goals = decide(facts)
    assert (goals.advertise, goals.reason, goals.proxy) == (Advertise.NO, Reason.RETIRED, ProxyGoal.RUNNING)
    assert (goals.inbound, goals.outbound) == (RedirectGoal.ON, RedirectGoal.ON)
    said = {word.type: (word.status, word.reason) for word in conditions.words(SPEC, member, facts, goals, NOW)}
    assert said["Ready"] == said_going("False") and said[conditions.DRAINING] == said_going("True")
    assert not has_drained(SPEC, member, facts, NOW)
    quiet = retiring(TOLD)
    assert has_drained(SPEC, member, serving(workload=quiet, slices=UNLISTED), NOW)
    busy = serving(workload=quiet, slices=UNLISTED, proxy=world.proxy("ready", flying=1))
    assert not has_drained(SPEC, member, busy, NOW)
    assert decide(facts, kind=f.PhaseKind.LEFT).reason is Reason.LEFT


def said_going(status: str) -> tuple[str, Reason]:
    return status, Reason.RETIRED


@pytest.mark.parametrize("reason", [Reason.MACHINE_DIFFERS, Reason.HOST_DUPLICATED])
@pytest.mark.parametrize("kind", f.PhaseKind)
def test_a_host_whose_lease_is_another_machines_writes_nothing(kind: f.PhaseKind, reason: Reason) -> None:
    """That machine may be serving under this name."""
    away = f.AddressesFact(("10.9.0.2",) if reason is Reason.HOST_DUPLICATED else ())
    facts = serving(lease=f.LeaseFact(fault=Fault(reason)), addresses=away)
    goals = decide(facts, kind=kind)
    assert goals.advertise is Advertise.NO
    assert conditions.words(SPEC, f.Phase(kind), facts, goals, NOW) == ()
    if kind is f.PhaseKind.MEMBER:
        assert goals.reason is reason
    else:
        assert has_drained(SPEC, f.Phase(kind, JUST_NOW), facts, NOW), (
            "it waits for no one to read what it never wrote"
        )


def test_of_two_hosts_of_one_image_the_one_with_the_address_stays_ready() -> None:
    """Or whose address is translated, so that it cannot be told."""
    facts = serving(lease=f.LeaseFact(fault=Fault(Reason.HOST_DUPLICATED)))
    assert decide(facts).advertise is Advertise.YES
    translated = dataclasses.replace(SPEC, address_translated=True)
    away = dataclasses.replace(facts, addresses=f.AddressesFact(("10.9.0.2",)))
    assert policy.decide(translated, f.Phase(f.PhaseKind.MEMBER), away, NOW).goals.advertise is Advertise.YES
