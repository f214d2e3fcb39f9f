"""The table of a redirect's trial, over every stage and event."""

from itertools import product

import pytest

from agent.core.redirect.trial import TABLE, Event, Impossible, Stage, after, agent_may_close, agent_may_turn_on

ENDS = {
    Event.APPLY: Stage.NONE,
    Event.CONFIRM: Stage.NONE,
    Event.REVERT: Stage.REVERTED,
    Event.REMOVE: Stage.REMOVED,
    Event.EXPIRE: Stage.EXPIRED,
    Event.FAIL: Stage.FAILED,
}


def test_every_event_has_its_place_in_every_stage() -> None:
    assert {(stage, event) for stage, row in TABLE.items() for event in row} == set(product(Stage, Event))


@pytest.mark.parametrize("event", Event)
def test_what_is_on_trial_ends_in_exactly_one_way(event: Event) -> None:
    assert after(Stage.ON_TRIAL, event) is ENDS.get(event, Stage.ON_TRIAL)


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.ON_TRIAL])
def test_without_a_trial_nothing_is_kept_or_taken_back(stage: Stage) -> None:
    for event in (Event.CONFIRM, Event.REVERT):
        with pytest.raises(Impossible, match="time is over" if stage is Stage.EXPIRED else "none is on trial"):
            after(stage, event)
    assert after(stage, Event.EXPIRE) is stage, "a timer that comes late changes nothing"


@pytest.mark.parametrize("stage", Stage)
def test_an_operator_may_apply_try_and_remove_in_every_stage(stage: Stage) -> None:
    assert after(stage, Event.APPLY) is Stage.NONE
    assert after(stage, Event.TRY) is Stage.ON_TRIAL
    assert after(stage, Event.REMOVE) is Stage.REMOVED


def test_what_the_agent_may_do_is_told_by_the_stage_alone() -> None:
    assert {stage for stage in Stage if agent_may_turn_on(stage)} == {Stage.NONE, Stage.ON_TRIAL}
    assert {stage for stage in Stage if not agent_may_close(stage)} == {Stage.REMOVED}


def test_only_an_operator_lifts_a_suspension() -> None:
    by_themselves = (Event.EXPIRE, Event.FAIL)
    suspended = [stage for stage in Stage if not agent_may_turn_on(stage)]
    assert not any(agent_may_turn_on(after(stage, event)) for stage, event in product(suspended, by_themselves))
