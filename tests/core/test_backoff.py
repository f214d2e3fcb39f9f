import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.backoff import Backoff

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


@pytest.mark.parametrize("policy", [(0.0, 2.0, 5.0), (1.0, 0.5, 5.0), (6.0, 2.0, 5.0)])
def test_a_policy_that_would_spin_or_shrink_is_refused(policy: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="cannot back off"):
        Backoff(*policy)
