"""The damping of flaps: bounded, and never in the way of a fall."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import facts as f
from agent.core import flaps, policy
from agent.core.goals import Advertise
from agent.core.reasons import Reason
from tests.core import world
from tests.core.test_policy import decide, serving
from tests.core.world import NOW, SPEC

pytestmark = pytest.mark.status

TIMES = st.lists(st.floats(0, 1e6), max_size=60).map(sorted)


@given(TIMES, st.floats(0, 1e4))
def test_a_return_waits_for_a_bounded_time(falls: list[float], later: float) -> None:
    now = (falls[-1] if falls else 0.0) + later
    until = flaps.held_until(falls, now)
    assert until is None or now < until <= falls[-1] + flaps.MOST


@given(TIMES)
def test_another_fall_never_shortens_the_wait(falls: list[float]) -> None:
    """With as many falls in the window and one more, the time that the last one costs does not shrink."""
    if falls and (until := flaps.held_until(falls, falls[-1])) is not None:
        again = flaps.held_until([*falls, falls[-1]], falls[-1])
        assert again is not None and again >= until


@given(st.lists(st.floats(0, 1e6), max_size=flaps.FREE).map(sorted), st.floats(0, 1e4))
def test_the_first_falls_are_free(falls: list[float], later: float) -> None:
    assert flaps.held_until(falls, (falls[-1] if falls else 0.0) + later) is None


@given(TIMES)
def test_the_past_is_forgotten(falls: list[float]) -> None:
    last = falls[-1] if falls else 0.0
    moment = 0.001  # more than a sum of floats is off by
    assert flaps.recent(falls, last + flaps.WINDOW + moment) == ()
    assert flaps.held_until(falls, last + flaps.MOST + moment) is None


def fallen(mesh: str) -> f.WorkloadFact:
    fact = world.workload(mesh)
    assert isinstance(fact, f.WorkloadFact)
    return dataclasses.replace(fact, fell_at=tuple(NOW - 5 + i for i in range(5)))


def test_the_decision_delays_the_return_and_says_when() -> None:
    facts = serving(workload=fallen("False"))
    goals = decide(facts)
    assert (goals.advertise, goals.reason) == (Advertise.NO, Reason.FLAPPING)
    verdict = policy.decide(SPEC, f.Phase(f.PhaseKind.MEMBER, NOW - 5000), facts, NOW)
    assert verdict.recheck_after == 4.0, "settling comes first"
    later = policy.decide(SPEC, f.Phase(f.PhaseKind.MEMBER, NOW - 5000), facts, NOW + 5)
    assert later.recheck_after == flaps.FIRST * 2 - 1 - 5
    over = policy.decide(SPEC, f.Phase(f.PhaseKind.MEMBER, NOW - 5000), facts, NOW + flaps.FIRST * 2 - 1)
    assert over.goals.advertise is Advertise.YES


def test_what_is_ready_stays_ready_and_what_fails_falls() -> None:
    assert decide(serving(workload=fallen("True"))).advertise is Advertise.YES
    failing = decide(serving(workload=fallen("False"), probes=world.probes("fail")))
    assert (failing.advertise, failing.reason) == (Advertise.NO, Reason.PROBE_FAILING)
