"""What an operator's group may ask of the agent, case by case."""

import pytest

from agent.core.facts import PhaseKind
from agent.core.socket_rights import operator_may_ask, operator_may_order


def test_an_operator_may_drain_and_undrain_a_member() -> None:
    may = {
        (present, phase.value)
        for phase in PhaseKind
        for present in ("", "unknown", *(kind.value for kind in PhaseKind))
        if operator_may_ask(phase, present)
    }
    assert may == {(a, b) for a in ("member", "drained") for b in ("member", "drained")}


@pytest.mark.parametrize(
    ("name", "words", "may"),
    [
        ("reload", {}, True),
        ("reload", {"restart_proxy": False, "force": True}, True),
        ("reload", {"restart_proxy": True}, False),
        ("reload", {"restart_proxy": "no"}, False),
        ("proxy-restart", {}, False),
        ("proxy-log-level", {}, False),
        ("proxy-check", {}, False),
    ],
)
def test_an_operator_may_reload(name: str, words: dict[str, object], may: bool) -> None:
    assert operator_may_order(name, words) is may
