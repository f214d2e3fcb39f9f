"""Two machines at one Lease are told from one that reboots."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.reasons import Reason
from agent.core.watch.fleet import LeaseSeen, View
from agent.core.watch.limits import Limits
from agent.core.watch.renewers import ALONE, REMEMBERED, Renewers
from agent.core.watch.unique import Shared, shared, twins

NAME = ("shop", "vm")


def seen(*renewers: str, every: float = 10.0) -> tuple[str, ...]:
    found, now = ALONE, 0.0
    for before, after in itertools.pairwise(renewers):
        now += every
        found = found.after(before, after, now)
    return found.together(renewers[-1], now)


@pytest.mark.parametrize(
    ("renewers", "together"),
    [
        ("a", ""),
        ("aaaa", ""),
        ("abcdefgh", ""),  # it reboots again and again
        ("aba", ""),  # set back to a snapshot once
        ("abab", "ab"),
        ("aabbaa", ""),
        ("aabbabbb", "ab"),
        ("aabbaabb", "ab"),
        ("abcabc", "bc"),  # three of them
        ("babab", "ab"),
    ],
)
def test_who_comes_back_is_another_machine(renewers: str, together: str) -> None:
    assert seen(*renewers) == tuple(together)


def test_it_is_over_ten_minutes_after_the_last_return() -> None:
    both = Renewers(("a",), (10.0, 20.0))
    assert both.together("b", 10 + REMEMBERED - 1) and not both.together("b", 10 + REMEMBERED)
    assert seen(*"abab", every=REMEMBERED) == (), "returns that are far from each other"


def test_an_agent_that_does_not_know_its_boot_says_nothing() -> None:
    assert seen("a", "", "a", "", "a") == ()


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), max_size=30))
def test_a_host_that_only_reboots_is_never_two(boots: list[tuple[int, int]]) -> None:
    renewers = [str(number) for number, (times, _) in enumerate(boots) for _ in range(times)]
    assert not renewers or seen(*renewers) == ()


def test_the_view_remembers_and_the_message_names_both() -> None:
    view = View()
    for number, renewer in enumerate(("vm/a", "copy/b", "vm/a", "copy/b")):
        lease = LeaseSeen("l", str(number), 40, True, renewer=renewer)
        view = view.with_leases({NAME: lease}, number * 5.0, number * 5.0, Limits())
    found = twins(view.leases, 20.0)
    assert found == {NAME: Shared(Reason.LEASE_SHARED, (("copy", "b"), ("vm", "a")))}
    assert found[NAME].message.endswith(": copy/b, vm/a")
    assert shared({}, {}, found) == found
    again = view.with_leases({NAME: LeaseSeen("another", "9", 40, True, renewer="vm/a")}, 20.0, 20.0, Limits())
    assert twins(again.leases, 20.0) == {}
