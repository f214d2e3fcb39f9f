import pytest

from tests.loops.virtual_hour import an_hour, falls

pytestmark = pytest.mark.status


async def test_an_idle_hour_writes_nothing() -> None:
    api = await an_hour(None)
    assert api.patches == [] and api.calls["read"] == 1


async def test_an_hour_of_flapping_is_bounded() -> None:
    """1,200 verdicts. Undamped, each would be a write."""
    api = await an_hour(3.0)
    assert 6 <= falls(api) <= 60
    assert len(api.patches) <= 2 * falls(api) + 61, "and at most one a minute that flips nothing"


async def test_a_flap_that_is_slow_costs_no_delay() -> None:
    api = await an_hour(300.0)
    assert falls(api) == 6 and len(api.patches) == 12
