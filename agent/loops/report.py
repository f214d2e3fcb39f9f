"""The report loop: one line in the log for each transition, and none without a change."""

import asyncio
from typing import Any

import structlog

from agent.core import failure, snapshot
from agent.core.facts import Level
from agent.core.goals import Goals, ProxyGoal, RedirectGoal
from agent.core.health import Spec
from agent.core.reasons import Fault, Severity, component
from agent.loops.board import Board, Waiter


class ReportLoop:
    def __init__(self, spec: Spec, board: Board) -> None:
        self._spec, self._board = spec, board
        self._log = structlog.get_logger()
        self._headline = ""
        self._goals = Goals()
        self._problems: dict[str, Fault] = {}

    async def run(self) -> None:
        waiter = Waiter(self._board.facts, self._board.goals, self._board.phase)
        while True:
            await waiter.wait()
            self._tell(asyncio.get_running_loop().time())

    def _tell(self, now: float) -> None:
        facts, goals, phase = self._board.facts.value, self._board.goals.value, self._board.phase.value
        self._tell_problems({f.reason.value: f for f in snapshot.problems(self._spec, facts, now, phase)})
        self._tell_goals(goals)
        headline = snapshot.headline(self._spec, phase, facts, goals, now)
        if headline != self._headline:
            self._headline = headline
            self._log.info(headline, reason=goals.reason.value, component="agent")

    def _tell_problems(self, problems: dict[str, Fault]) -> None:
        for code, fault in problems.items():
            if code not in self._problems:
                loud = fault.entry.severity in (Severity.FAULT, Severity.WARN)
                say = self._log.warning if loud else self._log.info
                say(f"{code}: {fault.entry.text}", **_about(fault), **_detail(fault))
        for code in self._problems.keys() - problems.keys():
            self._log.info(f"{code}: over", **_about(self._problems[code]))
        self._problems = problems

    def _tell_goals(self, goals: Goals) -> None:
        for name in ("proxy", "inbound", "outbound"):
            was, now = getattr(self._goals, name), getattr(goals, name)
            if was is not now:
                component = "proxy" if name == "proxy" else "redirect"
                fields = {"effect": effect} if (effect := self._effect(name, now)) else {}
                self._log.info(f"goal for {name}: {now.value}", was=was.value, component=component, **fields)
        self._goals = goals

    def _effect(self, name: str, goal: ProxyGoal | RedirectGoal) -> str:
        """Which connections are refused, and until when."""
        if name != "inbound" or not self._spec.redirect or goal not in (RedirectGoal.BLOCK, RedirectGoal.RELEASED):
            return ""
        return failure.effect(Level(goal.value), failure.to_ports(self._spec.ports))


def _about(fault: Fault) -> dict[str, str]:
    return {"reason": fault.reason.value, "component": component(fault.reason)}


def _detail(fault: Fault) -> dict[str, Any]:
    detail = {"detail": fault.detail, "remedy": fault.way_out}
    return {key: value for key, value in detail.items() if value}
