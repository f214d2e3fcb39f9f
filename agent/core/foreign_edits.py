"""Who changed our conditions: this agent, the watcher, or another program, whose edits are corrected.

The first edit is corrected at once; each following correction waits longer, up to an hour. A change of our Ready
never waits: it is written at once, even if another program writes too.
"""

from dataclasses import dataclass, replace

from agent.core import conditions
from agent.core.facts import Condition, Workload
from agent.core.reasons import Fault, Reason

FIRST, MOST = 60.0, 3600.0  # seconds that the second, and at most every, correction waits
FORGOTTEN = 2 * MOST  # seconds without an edit after which the next one is the first again


def ours(workload: Workload) -> tuple[Condition, ...]:
    return tuple(c for c in workload.conditions if c.type in conditions.OURS)


def unreachable(workload: Workload) -> bool:
    """The watcher removed Ready, because this host's Lease has expired."""
    return any(
        (c.status, c.reason) == ("Unknown", Reason.HOST_UNREACHABLE.value)
        for c in conditions.of(workload, conditions.READY)
    )


@dataclass(frozen=True)
class Edits:
    """`expected`: our entries without a foreign edit; empty before the first reading."""

    uid: str = ""
    expected: frozenset[tuple[Condition, ...]] = frozenset()
    count: int = 0
    at: float = 0.0
    pending: bool = False  # there is an edit that is not corrected yet
    fault: Fault | None = None

    def sending(self, workload: Workload, wanted: tuple[Condition, ...]) -> "Edits":
        """Before a write: the watch may deliver its result before the answer, or without one."""
        return replace(self, expected=self.expected | {ours(replace(workload, conditions=wanted))})

    def sent(self, answer: Workload) -> "Edits":
        return replace(self, uid=answer.uid, expected=frozenset({ours(answer)}), pending=False)

    def seen(self, workload: Workload, now: float) -> "Edits":
        """A reading that is not the answer to a write of ours. Another object resets the state."""
        there = ours(workload)
        if workload.uid != self.uid or not self.expected:
            return replace(self, uid=workload.uid, expected=frozenset({there}), pending=False)
        if there in self.expected:
            return self
        if unreachable(workload):
            return replace(self, expected=self.expected | {there})
        count = 1 if now - self.at > FORGOTTEN else self.count + 1
        fault = Fault(Reason.STATUS_EDITED, _changed(self.expected, there))
        return replace(self, expected=frozenset({there}), count=count, at=now, pending=True, fault=fault)

    def forgotten(self, now: float) -> bool:
        return self.fault is not None and not self.pending and now - self.at > FORGOTTEN

    def patience(self, now: float) -> float:
        """Seconds until the pending edit is corrected."""
        if not self.pending or self.count <= 1:
            return 0.0
        return max(0.0, self.at + min(MOST, FIRST * 2.0 ** min(self.count - 2, 16)) - now)


def _changed(expected: frozenset[tuple[Condition, ...]], there: tuple[Condition, ...]) -> str:
    before = {c for entries in expected for c in entries}
    kinds = {c.type for c in there if c not in before}
    gone = {c.type for c in before} - {c.type for c in there}
    return ", ".join([*sorted(kinds), *(f"{kind} is gone" for kind in sorted(gone))])
