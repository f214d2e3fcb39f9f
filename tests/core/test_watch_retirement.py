"""Which silent members are due, hour by hour: tables, and properties of a group whose hosts come and go."""

import dataclasses
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.kube import fleet_values
from agent.core.watch.retirement import DAY, MOST, Ledger, Member, Silent, after_an_hour, quota

pytestmark = pytest.mark.watcher

DEAD = Member("u", "7", ready=False, silent=True)


def hours(ledger: Ledger, members: dict[str, Member], count: int, days: int = 2) -> Ledger:
    for _ in range(count):
        ledger = after_an_hour(ledger, members, days)
    return ledger


def due(ledger: Ledger) -> set[str]:
    return {one.name for one in ledger.silent if one.due}


def test_a_member_is_due_after_its_days_and_not_an_hour_before() -> None:
    late = hours(Ledger(), {"db": DEAD}, 2 * DAY)
    assert late == Ledger((Silent("db", "u", "7", 47),))
    assert after_an_hour(late, {"db": DEAD}, 2) == Ledger((Silent("db", "u", "7", 48, due=True),), granted=1)


@pytest.mark.parametrize(
    "now",
    [
        None,
        dataclasses.replace(DEAD, ready=True),
        dataclasses.replace(DEAD, lease="8"),
        dataclasses.replace(DEAD, lease=""),
        dataclasses.replace(DEAD, silent=False),
        dataclasses.replace(DEAD, uid="another"),
    ],
    ids=["deleted", "Ready", "renewed once", "its Lease deleted", "renews", "made again"],
)
@pytest.mark.parametrize("count", [3, 60])
def test_one_that_is_back_begins_again(now: Member | None, count: int) -> None:
    before = hours(Ledger(), {"db": DEAD}, count)
    after = after_an_hour(before, {"db": now} if now else {}, 2)
    assert due(after) == set() and all(one.hours == 0 for one in after.silent)


def test_a_retirement_that_has_begun_stays_due_without_its_lease() -> None:
    begun = dataclasses.replace(DEAD, lease="", silent=False, retiring=True)
    assert due(hours(hours(Ledger(), {"db": DEAD}, 50), {"db": begun}, 30)) == {"db"}
    assert hours(Ledger(), {"db": begun}, 100) == Ledger(), "that of an operator is not counted"


def test_a_longer_time_takes_back_what_is_due() -> None:
    assert due(after_an_hour(hours(Ledger(), {"db": DEAD}, 50), {"db": DEAD}, 30)) == set()


@pytest.mark.parametrize(("members", "most"), [(1, 1), (19, 1), (39, 1), (40, 2), (1000, 50), (20_000, 1000)])
def test_five_percent_and_at_least_one(members: int, most: int) -> None:
    assert quota(members) == most


def test_a_group_of_any_size_has_a_status_of_a_bounded_size() -> None:
    members = {f"host-{number:05}.with-a-long-name.example": DEAD for number in range(20_000)}
    ledger = hours(Ledger(), members, 27, days=1)
    assert len(ledger.silent) == MOST == len(due(ledger))
    assert len(json.dumps(fleet_values.ledger_json(ledger))) < 150_000


def test_it_is_kept_as_json() -> None:
    ledger = hours(Ledger(), {"db": DEAD, "web": DEAD}, 50)
    body = {"status": {"retirement": fleet_values.ledger_json(ledger)}}
    assert fleet_values.ledger(body) == ledger and fleet_values.ledger({}) == Ledger()
    assert fleet_values.ledger_json(Ledger()) is None


# over time ----------------------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[list[bool]], list[bool]]:
    """Days; each hour: which hosts renewed, and whether the program that retires ran."""
    count = draw(st.sampled_from([1, 3, 25, 60]))
    length = draw(st.integers(30, 120))
    alive = [draw(st.integers(0, length)) for _ in range(count)]  # each dies at its hour; some come back for one
    again = draw(st.dictionaries(st.integers(0, count - 1), st.integers(0, length), max_size=3))
    renewed = [[hour < alive[host] or again.get(host) == hour for host in range(count)] for hour in range(length)]
    return draw(st.integers(1, 2)), renewed, [draw(st.booleans()) for _ in range(length)]


@given(histories())
def test_none_is_retired_before_its_days_and_no_more_than_a_share_in_any_day(
    history: tuple[int, list[list[bool]], list[bool]],
) -> None:
    days, renewed, runs = history
    size = len(renewed[0])
    versions, gone = [0] * size, dict[int, int]()
    ledger = Ledger()
    for hour, (heard, run) in enumerate(zip(renewed, runs, strict=True)):
        versions = [version + one for version, one in zip(versions, heard, strict=True)]
        members = {
            str(host): Member("u", str(versions[host]), ready=heard[host], silent=not heard[host])
            for host in range(size)
            if host not in gone
        }
        ledger = fleet_values.ledger(
            {"status": {"retirement": fleet_values.ledger_json(ledger)}}
        )  # another watcher
        ledger = after_an_hour(ledger, members, days)
        for name in sorted(due(ledger)) if run else ():
            host = int(name)
            assert not any(past[host] for past in renewed[max(0, hour - days * DAY + 1) : hour + 1])
            gone[host] = hour
    _bounded(gone, size)


def _bounded(gone: dict[int, int], size: int) -> None:
    times: Sequence[int] = sorted(gone.values())
    for hour in times:
        assert sum(hour <= other < hour + DAY for other in times) <= quota(size)


def test_all_dead_members_go_in_time() -> None:
    members = {str(number): DEAD for number in range(100)}
    ledger, left = Ledger(), []
    for _ in range(24 * 90):
        ledger = after_an_hour(ledger, members, 2)
        for name in due(ledger):
            del members[name]
        left.append(len(members))
    assert left[46] == 100 and left[48] == 95 and left[-1] == 0
