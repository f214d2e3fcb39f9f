"""Every reason is reached: a run of all the tests fails if the product never gave one of them.

What counts is a Fault, Trouble, Refusal, goal or word that a module of the product itself makes with that reason;
what a test makes up does not. A run of some tests is asked nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.core import conditions, goals, reasons
from agent.core.reasons import Reason
from agent.ports import Trouble
from agent.privileged import Refusal

PRODUCT = str(Path(reasons.__file__).parents[2]) + "/"
# Turns any Trouble into a Fault; the defaults of dataclasses; parsers of other programs' output.
ECHOES = {f"{PRODUCT}ports.py", f"{PRODUCT}core/reasons.py"}
# Given elsewhere, and by which program.
ELSEWHERE = {
    Reason.ADDRESSES_PRESENT: "fairlead status alone; tests/core/test_snapshot.py reads it there",
    Reason.WORKLOAD_MATCHES: "fairlead status alone; tests/core/test_snapshot.py reads it there",
}
GIVERS = (reasons.Fault, Trouble, Refusal, goals.Goals, conditions.Word)
TOLD = "the product gave the reason "

_ANSWERED: set[str] = set()


def answered(reason: object) -> None:
    """A program of the product, run by a test, gave this reason in its answer."""
    _ANSWERED.add(str(reason))


def tell(reason: Reason) -> None:
    """A process that a test started saw the product give this reason: a line for `told_by`."""
    print(f"{TOLD}{reason}", flush=True)


def told_by(output: str) -> None:
    for line in output.splitlines():
        if line.startswith(TOLD):
            answered(line.removeprefix(TOLD))


class Reached:
    def __init__(self, config: pytest.Config) -> None:
        self._config, self._found = config, _ANSWERED
        self._missing: list[str] = []
        for giver in GIVERS:
            dataclasses.is_dataclass(giver)  # one of core.late gets its own __init__ now, and not over this one
            giver.__init__ = self._noting(giver.__init__)  # type: ignore[method-assign]

    def _noting(self, make: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(make)
        def noting(made: Any, *args: Any, **named: Any) -> None:
            make(made, *args, **named)
            path = sys._getframe(1).f_code.co_filename  # noqa: SLF001 - documented; a quick look at the caller alone
            if path.startswith(PRODUCT) and path not in ECHOES and made.reason is not None:
                self._found.add(str(made.reason))

        return noting

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """One of several test processes has ended."""
        self._found |= set(getattr(node, "workeroutput", {}).get("reached", ()))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["reached"] = sorted(self._found)
        elif self._whole() and exitstatus == pytest.ExitCode.OK:
            self._missing = [r for r in Reason if r not in self._found and r not in ELSEWHERE]
            if self._missing:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _whole(self) -> bool:
        chosen = ("keyword", "markexpr", "no_real", "collectonly", "lf", "failedfirst", "deselect", "ignore")
        given = any(self._config.getoption(name, None) for name in chosen)
        return self._config.args_source is pytest.Config.ArgsSource.TESTPATHS and not given

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._missing:
            terminalreporter.section("reasons that no test has reached", red=True)
            terminalreporter.line(", ".join(self._missing))
            terminalreporter.line("Write a test in which the product gives them, or take them out.")
        elif path := self._config.getoption("--reached", None):
            Path(path).write_text("\n".join(sorted(self._found)))
