"""Thresholds against a small model of kubelet's rule, over any run of results."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core.facts import UNKNOWN
from agent.core.probe import Attempt, ProbeSpec, Tally

thresholds = st.integers(1, 5)


def spec(success: int, failure: int) -> ProbeSpec:
    return ProbeSpec("p", "tcp", "10.9.0.2", 80, success_threshold=success, failure_threshold=failure)


@given(st.lists(st.booleans(), max_size=40), thresholds, thresholds)
def test_a_verdict_changes_exactly_when_a_run_reaches_its_threshold(
    results: list[bool], success: int, failure: int
) -> None:
    tally = Tally()
    for i, ok in enumerate(results):
        before = tally.verdict
        tally = tally.count(spec(success, failure), Attempt(ok))
        needed = success if ok else failure
        run = results[max(0, i + 1 - needed) : i + 1]
        reached = len(run) == needed and all(r is ok for r in run)
        assert tally.verdict == (ok if reached else before)


@given(st.lists(st.booleans(), max_size=4))
def test_unknown_until_a_threshold_is_reached(results: list[bool]) -> None:
    tally = Tally()
    for ok in results:
        tally = tally.count(spec(5, 5), Attempt(ok))
    assert tally.verdict is UNKNOWN


def test_the_longest_first_verdict_is_known() -> None:
    assert spec(1, 3).first_verdict_within == 33.0
