"""A check as a value: its name, its judgement, and the outcome of one run."""

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from agent.core import text
from agent.core.late import dataclass
from agent.core.reasons import Fault, Severity

# How the reason of an outcome begins where more time, or root, would give another one.
NO_ANSWER: Final = "no answer"
NEEDS_ROOT: Final = "needs root"


class Result(enum.StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"  # it could not be read
    SKIPPED = "skipped"  # it does not apply here, needs another user, or a check that it depends on failed


@dataclass(frozen=True)
class Outcome:
    """`why`: what was seen; `fix`: what to do, "" where there is nothing to do."""

    result: Result
    why: str = ""
    fix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "why", text.detail(self.why))
        object.__setattr__(self, "fix", text.detail(self.fix))


def ok(why: str = "") -> Outcome:
    return Outcome(Result.OK, why)


def warn(why: str, fix: str) -> Outcome:
    return Outcome(Result.WARN, why, fix)


def fail(why: str, fix: str) -> Outcome:
    return Outcome(Result.FAIL, why, fix)


def unknown(why: str, fix: str = "") -> Outcome:
    return Outcome(Result.UNKNOWN, why, fix)


def skipped(why: str) -> Outcome:
    return Outcome(Result.SKIPPED, why)


def of_fault(fault: Fault, *, fails: bool = False) -> Outcome:
    """With the words of its reason, so that every report of fairlead says the same. `fails`: also with a reason
    that a running host serves with."""
    entry = fault.entry
    why = f"{entry.text} ({fault.detail})" if fault.detail else entry.text
    failed = fails or entry.severity is Severity.FAULT
    return Outcome(Result.FAIL if failed else Result.WARN, f"{why} [{fault.reason}]", fault.way_out)


@dataclass(frozen=True)
class Check:
    """`asks`: the question, for people. `needs`: names of checks without which this one says nothing of its own.
    `root`: only root can read it. `joined`: it is about a host that has its configuration in /etc/fairlead.
    `answers`: entries of troubleshooting guides that it answers."""

    name: str
    asks: str
    judge: Callable[[Any], Outcome]
    needs: tuple[str, ...] = ()
    root: bool = False
    joined: bool = False
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """`behind`: the failed check that this one depends on; then it stays silent."""

    check: Check
    outcome: Outcome
    behind: str = ""


def unless(good: str) -> Callable[[Fault | None], Outcome]:
    """The judgement of a reading that is a fault, or None where all is well."""

    def judge(fault: Fault | None) -> Outcome:
        return ok(good) if fault is None else of_fault(fault)

    return judge


def cause(check: Check, found: Mapping[str, Finding]) -> str:
    """The failed check for which this one is skipped; "": it runs."""
    for name in check.needs:
        if (finding := found.get(name)) is None:
            continue
        if finding.behind:
            return finding.behind
        if finding.outcome.result is Result.FAIL:
            return name
    return ""


def selected(registry: Sequence[Check], names: Iterable[str]) -> tuple[Check, ...]:
    """Those, and every check that they depend on, in the registry's order; without names, all. Raises KeyError."""
    by_name = {check.name: check for check in registry}
    wanted: set[str] = set()
    rest = list(names) or list(by_name)
    while rest:
        name = rest.pop()
        if name not in wanted:
            wanted.add(name)
            rest += by_name[name].needs
    return tuple(check for check in registry if check.name in wanted)


def exit_code(findings: Iterable[Finding], *, strict: bool) -> int:
    """0: nothing failed; 1: with `strict`, a warning or something unknown; 2: a check failed."""
    results = {finding.outcome.result for finding in findings}
    if Result.FAIL in results:
        return 2
    return 1 if strict and results & {Result.WARN, Result.UNKNOWN} else 0
