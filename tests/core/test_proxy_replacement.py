"""The table of a replacement, and its record."""

import itertools

import pytest

from agent.core.replacement import (
    ENDS,
    STOPPING,
    TRANSITIONS,
    Illegal,
    News,
    Replacement,
    Stage,
    after,
    recalled,
    remembered,
)


def test_proxy_replacement_has_no_way_out_of_the_table() -> None:
    for stage, news in itertools.product(Stage, News):
        change = Replacement("2", "1", stage)
        if (stage, news) in TRANSITIONS:
            assert after(change, news, 7.0) == Replacement("2", "1", TRANSITIONS[stage, news], since=7.0)
        else:
            with pytest.raises(Illegal):
                after(change, news, 7.0)


def test_proxy_replacement_ends_from_everywhere_and_never_circles() -> None:
    def follow(stage: Stage, seen: frozenset[Stage]) -> None:
        assert stage not in seen
        nexts = [to for (origin, _), to in TRANSITIONS.items() if origin is stage]
        assert bool(nexts) is (stage not in ENDS - {Stage.FAILED, Stage.BACK_AGAIN, Stage.RENEWING})
        assert stage not in ENDS or set(nexts) <= ENDS, "what has ended begins no more"
        for each in nexts:
            follow(each, seen | {stage})

    follow(Stage.LEAVING, frozenset())


def test_proxy_replacement_by_itself_has_nothing_to_go_back_to() -> None:
    change = Replacement("", "", Stage.STARTING)
    assert after(change, News.NOT_READY, 0.0, "why").stage is Stage.FAILED


def test_proxy_replacement_knows_which_binary_belongs_in_each_stage() -> None:
    wanted = {stage: Replacement("new", "old", stage).version for stage in Stage}
    assert [stage for stage, version in wanted.items() if version == "new"] == [
        Stage.PREPARING,
        Stage.COVERING,
        Stage.LEAVING,
        Stage.STARTING,
        Stage.DONE,
    ]
    assert STOPPING.isdisjoint(ENDS)


@pytest.mark.parametrize("stage", Stage)
def test_proxy_replacement_is_remembered(stage: Stage) -> None:
    change = Replacement("2.366.0", "2.360.0", stage, "because", since=5.0)
    assert recalled(remembered(change, 100.0, "boot"), 5.0, 100.0, "boot") == change


def test_proxy_replacement_goes_on_counting_on_the_same_boot_alone() -> None:
    record = remembered(Replacement("2", "1", Stage.STARTING), 100.0, "boot")
    for uptime, boot, since in ((130.0, "boot", -25.0), (99.0, "boot", 5.0), (130.0, "another", 5.0)):
        found = recalled(record, 5.0, uptime, boot)
        assert found is not None and found.since == since
    del record["uptime"]
    found = recalled(record, 5.0, 130.0, "boot")
    assert found is not None and found.since == 5.0


@pytest.mark.parametrize(
    "record", [None, [], {}, {"wanted": "1"}, {**remembered(Replacement("", ""), 0.0, ""), "stage": "x"}]
)
def test_proxy_replacement_of_no_record_is_none(record: object) -> None:
    assert recalled(record, 0.0, 0.0, "") is None
