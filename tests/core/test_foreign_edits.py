from dataclasses import replace

import pytest

from agent.core.facts import Condition, Workload
from agent.core.foreign_edits import FIRST, FORGOTTEN, MOST, Edits
from agent.core.reasons import Reason

pytestmark = pytest.mark.status

READY = Condition("Ready", "True", "HostReady", "m", "then")
FOREIGN = Condition("Ready", "False", "Mine", "m", "then")
OTHERS = Condition("example.com/Backup", "True")


def workload(*conditions: Condition, uid: str = "a") -> Workload:
    return Workload(uid, "1", "", "", conditions=conditions)


HOME = Edits().seen(workload(READY), 0)


def test_what_stands_at_the_start_is_nobodys_edit() -> None:
    assert (HOME.count, HOME.fault, HOME.pending) == (0, None, False)


def test_our_own_write_may_come_by_the_watch_first_or_without_an_answer() -> None:
    sending = HOME.sending(workload(READY), (FOREIGN,))
    assert sending.seen(workload(FOREIGN), 1).count == 0
    assert sending.seen(workload(READY), 1).count == 0, "it was never made"
    assert sending.sent(workload(FOREIGN)).seen(workload(READY), 2).count == 1, "somebody put it back"


def test_others_conditions_are_others() -> None:
    assert HOME.seen(workload(READY, OTHERS), 1) == HOME


def test_the_watcher_and_another_object_are_no_edits() -> None:
    gone = Condition("Ready", "Unknown", "HostUnreachable")
    assert HOME.seen(workload(gone), 1).fault is None
    again = HOME.seen(workload(uid="b"), 1)
    assert (again.uid, again.fault, again.pending) == ("b", None, False)


def test_an_edit_is_named_and_corrected_at_once_and_then_ever_later() -> None:
    edits, waits = HOME, []
    for n in range(12):
        edits = edits.seen(workload(FOREIGN), 0)
        assert edits.pending and edits.fault is not None and edits.fault.reason is Reason.STATUS_EDITED
        assert edits.seen(workload(FOREIGN), 0) is edits, "the same edit counts once"
        waits.append(edits.patience(0))
        edits = edits.sent(workload(READY))
        assert not edits.pending and edits.count == n + 1
    assert waits[:3] == [0, FIRST, 2 * FIRST] and waits[-1] == MOST


def test_an_edit_is_named_by_its_types() -> None:
    draining = Condition("fairlead.dev/Draining", "False")
    both = Edits().seen(workload(READY, draining), 0)
    fault = both.seen(workload(FOREIGN), 1).fault
    assert fault is not None and fault.detail == "Ready, fairlead.dev/Draining is gone"


def test_an_edit_is_forgotten_in_time() -> None:
    edits = HOME.seen(workload(FOREIGN), 10)
    assert not edits.forgotten(11 + FORGOTTEN), "it stands there still"
    mended = edits.sent(workload(READY))
    assert mended.forgotten(11 + FORGOTTEN) and not mended.forgotten(10)
    assert replace(mended, count=9).seen(workload(FOREIGN), 11 + FORGOTTEN).patience(0) == 0
