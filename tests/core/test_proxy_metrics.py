"""The proxy's page of metrics as it is passed on, however it is cut into chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.proxy_metrics import Passing

PAGE = b"""\
# HELP request_total Total count of HTTP requests.
# TYPE request_total counter
request_total{direction="inbound"} 7
# HELP process_open_fds Number of open file descriptors.
# TYPE process_open_fds gauge
process_open_fds 33
# TYPE processed counter
processed 1
# EOF
"""
KEPT = b"""\
# HELP request_total Total count of HTTP requests.
# TYPE request_total counter
request_total{direction="inbound"} 7
# TYPE processed counter
processed 1
"""


def passed(page: bytes, size: int, most: int = 1 << 20) -> tuple[bytes, Passing]:
    passing = Passing(most)
    kept = b"".join(passing.chunk(page[at : at + size]) for at in range(0, len(page), size))
    return kept + passing.end(), passing


def test_each_sample_says_of_which_slot_it_is_and_a_second_page_names_nothing_again() -> None:
    page = b'# TYPE a counter\na 1\nb{} 2\nc{x="y z"} 3\nd 4 # {trace="t"} 1\n# EOF\n'
    passing = Passing(slot="standby", named=False)
    kept = passing.chunk(page).decode().splitlines()
    assert kept == [
        'a{slot="standby"} 1',
        'b{slot="standby"} 2',
        'c{slot="standby",x="y z"} 3',
        'd{slot="standby"} 4 # {trace="t"} 1',
    ]
    assert passing.begun and passing.complete and not Passing().begun


@given(st.integers(1, len(PAGE) + 1))
def test_every_way_to_cut_it_gives_the_same(size: int) -> None:
    kept, passing = passed(PAGE, size)
    assert kept == KEPT and passing.complete


@pytest.mark.parametrize("page", [b"", PAGE[:60], PAGE.removesuffix(b"# EOF\n")], ids=["none", "half", "no end"])
def test_a_page_that_breaks_off_is_not_complete(page: bytes) -> None:
    kept, passing = passed(page, 16)
    assert not passing.complete and b"EOF" not in kept


@given(st.integers(1, 64), st.integers(0, 200))
def test_it_is_cut_off_at_a_line(size: int, most: int) -> None:
    kept, passing = passed(PAGE, size, most)
    assert len(kept) <= most and KEPT.startswith(kept) and (not kept or kept.endswith(b"\n"))
    assert passing.complete == (most >= len(KEPT))


def test_a_line_without_end_is_not_kept_in_memory() -> None:
    passing = Passing()
    passing.chunk(b"x" * 100_000)
    assert passing.full
