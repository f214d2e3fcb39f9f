import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.backoff import LONGEST, Backoff

POLICY = Backoff(first=0.2, factor=2.0, most=5.0)


def test_whole_delays_double_up_to_the_most() -> None:
    assert [POLICY.delay(n, 1.0) for n in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@given(st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_chance_takes_at_most_half(attempt: int, chance: float) -> None:
    whole = POLICY.delay(attempt, 1.0)
    assert whole / 2 <= POLICY.delay(attempt, chance) <= whole


@given(st.integers(0, 10**9), st.floats(0, 1))
def test_more_tries_never_wait_less(attempt: int, chance: float) -> None:
    assert POLICY.delay(attempt, chance) <= POLICY.delay(attempt + 1, chance)


@given(st.integers(0, 10**9), st.floats(0, 1, exclude_max=True), st.floats(0, 1e400))
def test_what_the_other_side_asks_for_is_honoured_within_bounds(attempt: int, chance: float, asked: float) -> None:
    found = POLICY.delay(attempt, chance, asked)
    assert found >= max(min(asked, LONGEST), POLICY.delay(attempt, chance))
    assert found <= max(1.5 * LONGEST, POLICY.most)


def test_a_fleet_that_was_told_the_same_is_spread() -> None:
    assert [POLICY.delay(0, chance, 10.0) for chance in (0.0, 0.5, 1.0)] == [10.0, 12.5, 15.0]


@pytest.mark.parametrize("policy", [(0.0, 2.0, 5.0), (1.0, 0.5, 5.0), (6.0, 2.0, 5.0)])
def test_a_policy_that_would_spin_or_shrink_is_refused(policy: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="cannot back off"):
        Backoff(*policy)
