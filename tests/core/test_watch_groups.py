"""The status of a WorkloadGroup, from its members."""

import pytest

from agent.core.watch.fleet import Name, WorkloadSeen
from agent.core.watch.groups import REASONS, GroupSeen, GroupStatus, changes, status

pytestmark = pytest.mark.watcher

GROUP = GroupSeen("1", 7, "new")
DB: Name = ("shop", "db")


def member(
    template: str = "new", reason: str = "HostReady", *, ready: bool = True, marked: bool = False
) -> WorkloadSeen:
    return WorkloadSeen("uid", ready=ready, marked=marked, group="db", template=template, reason=reason)


def test_members_are_counted_by_what_they_are() -> None:
    members = [
        member(),
        member(template="old"),
        member(reason="ProbeFailing", ready=False),
        member(reason="HostUnreachable", ready=False, marked=True),
        member(reason="ProbeFailing", ready=False),
        member(template="", reason="", ready=False),
    ]
    found = status(GROUP, members)
    assert (found.generation, found.members, found.ready, found.outdated, found.unreachable) == (7, 6, 2, 2, 1)
    assert found.reasons == (("ProbeFailing", 2), ("HostUnreachable", 1))


def test_only_the_most_frequent_reasons_are_named_in_one_order() -> None:
    members = [member(reason=f"R{number}", ready=False) for number in (9, 8, 7, 6, 5, 4, 3, 3)]
    found = status(GROUP, members).reasons
    assert found == status(GROUP, members[::-1]).reasons
    assert len(found) == REASONS and found[:3] == (("R3", 2), ("R4", 1), ("R5", 1))


def test_a_status_is_written_where_it_changes_and_only_by_members_of_the_namespace() -> None:
    hosts = [(("shop", "vm-1"), member()), (("other", "vm-2"), member()), (("shop", "vm-3"), WorkloadSeen("u"))]
    wanted = GroupStatus(generation=7, members=1, ready=1)
    assert list(changes({DB: GROUP}, hosts)) == [(DB, wanted)]
    assert list(changes({DB: GroupSeen("2", 7, "new", wanted)}, hosts)) == []
    assert list(changes({DB: GroupSeen("2", 8, "newer", wanted)}, hosts)) == [
        (DB, GroupStatus(generation=8, members=1, ready=1, outdated=1))
    ]
    assert list(changes({}, hosts)) == []
