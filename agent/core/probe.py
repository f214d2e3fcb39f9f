"""Probe verdicts by kubelet's rule: consecutive results against two thresholds, UNKNOWN before the first."""

from dataclasses import dataclass, field
from typing import Literal

from agent.core.facts import UNKNOWN, Maybe

ProbeKind = Literal["http", "tcp"]


@dataclass(frozen=True)
class ProbeSpec:
    """One probe. Times in seconds; defaults and meaning are kubelet's."""

    name: str
    kind: ProbeKind
    host: str  # the address that is dialled: the workload's own unless configured
    port: int
    path: str = "/"
    period: float = 10.0
    timeout: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3
    headers: tuple[tuple[str, str], ...] = field(default=())

    @property
    def first_verdict_within(self) -> float:
        """The longest that the first verdict can take, in seconds."""
        return max(self.success_threshold, self.failure_threshold) * (self.period + self.timeout)


@dataclass(frozen=True)
class Attempt:
    """One try. `detail` says what was seen."""

    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Tally:
    """Consecutive equal results, and the verdict that they have earned so far."""

    verdict: Maybe[bool] = UNKNOWN
    last: bool | None = None
    run: int = 0
    detail: str = ""

    def count(self, spec: ProbeSpec, attempt: Attempt) -> "Tally":
        run = self.run + 1 if attempt.ok == self.last else 1
        threshold = spec.success_threshold if attempt.ok else spec.failure_threshold
        verdict = attempt.ok if run >= threshold else self.verdict
        return Tally(verdict, attempt.ok, run, attempt.detail)
