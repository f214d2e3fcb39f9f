import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.events import BURST, REFILL, SERIES, Ledger, Said, Series

pytestmark = pytest.mark.status

UP, DOWN = Said("True", "HostReady"), Said("False", "ProbeFailing")


@given(st.lists(st.floats(0, 900), max_size=200))
def test_the_budget_holds_over_any_time(pauses: list[float]) -> None:
    ledger, now, spent = Ledger(), 0.0, 0
    for pause in pauses:
        now += pause
        if (after := ledger.spend(now)) is not None:
            ledger, spent = after, spent + 1
        assert spent <= BURST + now / REFILL + 1e-6


def test_a_series_goes_on_for_a_while() -> None:
    ledger = Ledger().noted("uid", UP, Series("a", 1, 100))
    assert ledger.known("uid", UP, 101) == Series("a", 1, 100)
    assert ledger.known("uid", DOWN, 101) is None and ledger.known("other", UP, 101) is None
    assert ledger.known("uid", UP, 100 + SERIES) is None


def test_the_past_of_another_object_is_dropped() -> None:
    ledger = Ledger().noted("old", UP, Series("a", 1, 0)).noted("new", DOWN, Series("b", 1, 0))
    assert list(ledger.series) == [("new", DOWN)]
    assert ledger.noted("new", DOWN, None).series == {}
