"""Thresholds against a small model of kubelet's rule, over any run of results."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core.facts import UNKNOWN
from agent.core.probe import LONGEST_DETAIL, Attempt, ProbeSpec, Tally, brief, first_verdicts_within

thresholds = st.integers(1, 5)
results_ = st.lists(st.sampled_from([True, False, None]), max_size=40)


def spec(success: int, failure: int) -> ProbeSpec:
    return ProbeSpec("p", "tcp", "10.9.0.2", 80, success_threshold=success, failure_threshold=failure)


@given(results_, thresholds, thresholds)
def test_a_verdict_changes_exactly_when_a_run_reaches_its_threshold(
    results: list[bool | None], success: int, failure: int
) -> None:
    tally = Tally()
    made: list[bool] = []
    for ok in results:
        before = tally.verdict
        tally = tally.count(spec(success, failure), Attempt(ok))
        if ok is None:
            assert tally.verdict == before
            continue
        made.append(ok)
        needed = success if ok else failure
        reached = made[-needed:] == [ok] * needed
        assert tally.verdict == (ok if reached else before)


@given(results_, st.integers(0, 40), thresholds, thresholds)
def test_a_try_that_could_not_be_made_changes_nothing_to_come(
    results: list[bool | None], at: int, success: int, failure: int
) -> None:
    def verdict(of: list[bool | None]) -> object:
        tally = Tally()
        for ok in of:
            tally = tally.count(spec(success, failure), Attempt(ok))
        return tally.verdict

    assert verdict([*results[:at], None, *results[at:]]) == verdict(results)


@given(st.lists(st.sampled_from([True, False, None]), max_size=4))
def test_unknown_until_a_threshold_is_reached(results: list[bool | None]) -> None:
    tally = Tally()
    for ok in results:
        tally = tally.count(spec(5, 5), Attempt(ok))
    assert tally.verdict is UNKNOWN


def test_why_a_try_could_not_be_made_is_shown() -> None:
    tally = Tally().count(spec(1, 1), Attempt(True, "fine")).count(spec(1, 1), Attempt(None, "no memory"))
    assert (tally.verdict, tally.detail) == (True, "no memory")


def test_the_longest_first_verdict_is_known() -> None:
    assert spec(1, 3).first_verdict_within == 33.0
    slow = ProbeSpec("s", "exec", command=("/bin/true",), initial_delay=5, period=2, timeout=1, startup=True)
    assert slow.first_verdict_within == 14.0
    assert ProbeSpec("b", "push", ttl=600).first_verdict_within == 600.0


def test_startup_probes_come_before_the_others() -> None:
    start = ProbeSpec("s", "tcp", startup=True)
    assert first_verdicts_within([]) == 0.0
    assert first_verdicts_within([spec(1, 3), spec(1, 1)]) == 33.0
    assert first_verdicts_within([spec(1, 3), start]) == 66.0


@given(st.text())
def test_a_detail_is_one_short_printable_line(said: str) -> None:
    shown = brief(said)
    assert len(shown) <= LONGEST_DETAIL and shown.isprintable() and brief(shown) == shown


def test_a_detail_keeps_what_fits() -> None:
    assert brief("  exit 1:\n\tno\x1b[0m room ") == "exit 1: no [0m room"
    assert brief("x" * 201) == "x" * 199 + "…"
