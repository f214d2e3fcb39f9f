"""Probe verdicts by kubelet's rule: consecutive results against two thresholds, UNKNOWN before the first."""

from collections.abc import Iterable
from typing import Literal

from agent.core.facts import UNKNOWN, Maybe
from agent.core.late import dataclass

ProbeKind = Literal["http", "tcp", "grpc", "exec", "systemd", "push"]
Scheme = Literal["http", "https"]
LONGEST_DETAIL = 200  # characters


def exec_unit(name: str) -> str:
    """The unit that an exec probe of that name may be: root wrote it, and the privileged helper starts no
    other."""
    return f"fairlead-probe@{name}.service"


@dataclass(frozen=True)
class ProbeSpec:
    """One probe. Times in seconds; defaults and meaning are kubelet's. What a kind does not use is left alone."""

    name: str
    kind: ProbeKind
    host: str = ""  # http, tcp, grpc: the address that is dialled: the workload's own unless configured
    port: int = 0
    path: str = "/"  # http
    scheme: Scheme = "http"
    headers: tuple[tuple[str, str], ...] = ()
    service: str = ""  # grpc: whose health is asked; "" is the server's as a whole
    command: tuple[str, ...] = ()  # exec: a program by its absolute path, and its arguments
    unit: str = ""  # systemd: the unit that must be active; exec: the one of root's that is run, or ""
    ttl: float = 60.0  # push: the longest that one push may vouch
    initial_delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3
    startup: bool = False  # delays the others until it has passed once; after that it does not run again

    @property
    def first_verdict_within(self) -> float:
        """The longest that the first verdict can take, in seconds, once nothing holds the probe back."""
        if self.kind == "push":
            return self.ttl
        tries = max(self.success_threshold, self.failure_threshold)
        return self.initial_delay + tries * (self.period + self.timeout)


def first_verdicts_within(specs: Iterable[ProbeSpec]) -> float:
    """The longest, in seconds, until every probe of an application that has started can have its verdict."""
    longest = {True: 0.0, False: 0.0}
    for spec in specs:
        longest[spec.startup] = max(longest[spec.startup], spec.first_verdict_within)
    return longest[True] + longest[False]


@dataclass(frozen=True)
class Attempt:
    """One try. None: it could not be made, which says nothing about the application. `detail`: what was seen."""

    ok: bool | None
    detail: str = ""


def brief(text: str) -> str:
    """Any output of another program as one printable line of limited length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * LONGEST_DETAIL]).split())
    return line if len(line) <= LONGEST_DETAIL else line[: LONGEST_DETAIL - 1] + "…"


@dataclass(frozen=True)
class Tally:
    """Consecutive equal results, and the verdict that they have earned so far."""

    verdict: Maybe[bool] = UNKNOWN
    last: bool | None = None
    run: int = 0
    detail: str = ""

    def count(self, spec: ProbeSpec, attempt: Attempt) -> "Tally":
        """An attempt that could not be made neither counts nor breaks a run; its detail is still shown."""
        if attempt.ok is None:
            return Tally(self.verdict, self.last, self.run, attempt.detail)
        run = self.run + 1 if attempt.ok == self.last else 1
        threshold = spec.success_threshold if attempt.ok else spec.failure_threshold
        verdict = attempt.ok if run >= threshold else self.verdict
        return Tally(verdict, attempt.ok, run, attempt.detail)
