"""Checks as values: the registry's order, what is selected, what stays silent, the exit code."""

import pytest

from agent.core.doctor import host_checks
from agent.core.doctor.check import (
    Check,
    Finding,
    Outcome,
    Result,
    cause,
    exit_code,
    of_fault,
    ok,
    selected,
    skipped,
    unknown,
    unless,
    warn,
)
from agent.core.reasons import Fault, Reason

A = Check("a", "is a so", unless("good"))
B = Check("b", "is b so", unless("good"), ("a",))
C = Check("c", "is c so", unless("good"), ("b",))
FAILED = of_fault(Fault(Reason.WORKLOAD_API_ABSENT, "/run/x does not exist"))


def test_each_check_of_a_host_comes_after_those_it_depends_on() -> None:
    names = [check.name for check in host_checks.HOST]
    assert len(set(names)) == len(names)
    for at, check in enumerate(host_checks.HOST):
        assert set(check.needs) <= set(names[:at]), check.name


def test_a_fault_has_the_words_of_its_reason() -> None:
    assert FAILED.result is Result.FAIL
    assert FAILED.why == (
        "there is no SPIFFE Workload API socket at the configured path (/run/x does not exist) [WorkloadApiAbsent]"
    )
    assert FAILED.fix == "start the SPIRE agent, or correct identity.workload_api"


def test_a_reason_that_a_host_serves_with_is_a_warning() -> None:
    assert of_fault(Fault(Reason.TRUST_ANCHORS_EXPIRING)).result is Result.WARN


@pytest.mark.parametrize(
    ("names", "found"), [((), "abc"), (("a",), "a"), (("c",), "abc"), (("b", "a"), "ab")], ids=str
)
def test_what_is_chosen_comes_with_what_it_depends_on(names: tuple[str, ...], found: str) -> None:
    assert "".join(check.name for check in selected((A, B, C), names)) == found


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        selected((A, B), ("d",))


@pytest.mark.parametrize(
    ("outcome", "behind"),
    [(FAILED, "a"), (warn("late", ""), ""), (unknown("no answer"), ""), (skipped("needs root"), ""), (ok(), "")],
    ids=["fail", "warn", "unknown", "skipped", "ok"],
)
def test_only_what_failed_silences_what_depends_on_it(outcome: Outcome, behind: str) -> None:
    assert cause(B, {"a": Finding(A, outcome)}) == behind


def test_a_symptom_of_a_symptom_names_the_first_cause() -> None:
    assert cause(C, {"b": Finding(B, skipped("a failed"), behind="a")}) == "a"


@pytest.mark.parametrize(
    ("outcomes", "strict", "code"),
    [
        ([ok()], True, 0),
        ([warn("late", "")], False, 0),
        ([warn("late", "")], True, 1),
        ([unknown("no answer")], False, 0),
        ([unknown("no answer")], True, 1),
        ([skipped("needs root")], True, 0),
        ([warn("late", ""), FAILED], True, 2),
        ([FAILED], False, 2),
    ],
    ids=["ok", "warn", "warn-strict", "unknown", "unknown-strict", "skipped", "both", "fail"],
)
def test_the_exit_code_is_that_of_the_worst(outcomes: list[Outcome], strict: bool, code: int) -> None:
    assert exit_code([Finding(A, one) for one in outcomes], strict=strict) == code
