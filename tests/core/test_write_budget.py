import pytest

from agent.core import conditions, write_budget
from agent.core.conditions import PREFIX, Word
from agent.core.facts import Workload
from agent.core.reasons import Reason
from agent.core.write_budget import AT_MOST, LASTS, SPACING, Heard, Plan

pytestmark = pytest.mark.status

READY = Word("Ready", "True", Reason.HOST_READY)
FALLEN = Word("Ready", "False", Reason.PROBE_FAILING)
PROXY = Word(PREFIX + "ProxyReady", "True", Reason.PROXY_READY)
STOPPED = Word(PREFIX + "ProxyReady", "False", Reason.PROXY_STOPPED)
ACTIVE = Word(PREFIX + "RedirectActive", "True", Reason.REDIRECT_ACTIVE)
PORTS = Word(PREFIX + "RedirectActive", "True", Reason.PORTS_MISMATCH)
PENDING = Word(PREFIX + "RedirectActive", "False", Reason.REDIRECT_PENDING)
EMPTY = Workload("uid", "1", "", "")


def there(*words: Word) -> Workload:
    return Workload("uid", "1", "", "", conditions=conditions.written(EMPTY, words, "then"))


def test_nothing_new_is_nothing_to_do() -> None:
    assert write_budget.plan(there(READY, PROXY), Heard().hear([READY, PROXY], 0), 100, None) == Plan()
    assert write_budget.plan(there(READY), Heard(), 100, None) == Plan()


def test_a_flip_of_ready_takes_the_others_along_at_once() -> None:
    heard = Heard().hear([FALLEN, STOPPED], 100)
    assert write_budget.plan(there(READY, PROXY), heard, 100, aside_at=99) == Plan((FALLEN, STOPPED))


def test_another_change_alone_waits_until_it_has_lasted() -> None:
    heard = Heard().hear([READY, PORTS], 100)
    assert write_budget.plan(there(READY, ACTIVE), heard, 101, None) == Plan(due=LASTS - 1)
    assert write_budget.plan(there(READY, ACTIVE), heard.hear([READY, PORTS], 104), 105, None) == Plan(
        (READY, PORTS)
    )


def test_changes_that_follow_each_other_go_together() -> None:
    heard = Heard().hear([READY, STOPPED, ACTIVE], 100).hear([READY, STOPPED, PORTS], 103)
    seen = there(READY, PROXY, ACTIVE)
    assert write_budget.plan(seen, heard, 105, None).due == 3
    assert write_budget.plan(seen, heard, 108, None).words == (READY, STOPPED, PORTS)


def test_one_that_never_settles_holds_up_no_other_for_ever() -> None:
    seen, heard, now = there(READY, PROXY, ACTIVE), Heard(), 100.0
    while now < 100 + AT_MOST:
        heard = heard.hear([READY, STOPPED, PORTS if now % 2 else PENDING], now)
        assert write_budget.plan(seen, heard, now, None).words == ()
        now += 1
    assert write_budget.plan(seen, heard, now, None).words == (READY, STOPPED)


def test_such_writes_are_far_apart() -> None:
    heard = Heard().hear([READY, PORTS], 100)
    assert write_budget.plan(there(READY, ACTIVE), heard, 110, aside_at=109) == Plan(due=SPACING - 1)
    assert write_budget.plan(there(READY, ACTIVE), heard, 109 + SPACING, aside_at=109).words
