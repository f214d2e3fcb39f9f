import dataclasses

import pytest

from agent.core import conditions
from agent.core.facts import Condition, Facts, Workload
from agent.core.goals import Advertise, Goals
from agent.core.reasons import Reason
from tests.core import world
from tests.core.world import SPEC

THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
YES = Goals(advertise=Advertise.YES, reason=Reason.HOST_READY)
NO = Goals(advertise=Advertise.NO, reason=Reason.PROBE_FAILING)


def seen(*entries: Condition) -> Workload:
    return Workload("uid", "1", "id", "sni", conditions=entries)


def test_hold_writes_nothing() -> None:
    assert conditions.conditions(seen(), Goals(), NOW) is None


def test_the_first_write() -> None:
    written = conditions.conditions(seen(), YES, NOW)
    assert written is not None
    (ready,) = written
    assert (ready.type, ready.status, ready.reason, ready.last_transition_time) == (
        "Ready",
        "True",
        "HostReady",
        NOW,
    )


@pytest.mark.parametrize("goals", [YES, NO])
def test_the_same_again_writes_nothing(goals: Goals) -> None:
    written = conditions.conditions(seen(), goals, THEN)
    assert written is not None
    assert conditions.conditions(seen(*written), goals, NOW) is None


def test_the_transition_time_moves_only_when_the_status_flips() -> None:
    before = conditions.conditions(seen(), NO, THEN)
    assert before is not None
    other_reason = dataclasses.replace(NO, reason=Reason.PROXY_STOPPED)
    again = conditions.conditions(seen(*before), other_reason, NOW)
    flipped = conditions.conditions(seen(*before), YES, NOW)
    assert again is not None and flipped is not None
    assert again[0].last_transition_time == THEN
    assert flipped[0].last_transition_time == NOW


def test_several_ready_entries_become_one_in_the_place_of_the_first() -> None:
    """linkerd-destination takes any True among them for ready."""
    a, b = Condition("a.example/A", "True"), Condition("b.example/B", "False")
    mess = seen(a, Condition("Ready", "False", "X"), b, Condition("Ready", "True", "Y"))
    assert mess.ready == "True"
    written = conditions.conditions(mess, NO, NOW)
    assert written is not None
    assert [c.type for c in written] == ["a.example/A", "Ready", "b.example/B"]
    assert written[0] is a and written[2] is b


def test_told_compares_what_the_mesh_reads() -> None:
    assert conditions.told(Facts(workload=world.workload("True")), YES)
    assert not conditions.told(Facts(workload=world.workload("False")), YES)
    assert conditions.told(Facts(workload=world.workload("False")), NO)
    assert not conditions.told(Facts(), NO)
    assert not conditions.told(Facts(workload=world.workload("True")), Goals())


def test_the_boot_is_vouched_for_once_told() -> None:
    told = Facts(workload=world.workload("False"), lease=world.lease(2))
    assert conditions.vouched_boot(SPEC, told, NO) == "boot1"
    assert conditions.vouched_boot(SPEC, told, YES) is None
    again = dataclasses.replace(told, lease=world.lease(1))
    assert conditions.vouched_boot(SPEC, again, YES) == "boot1"
