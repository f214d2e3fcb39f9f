"""Which transitions of Ready become Kubernetes Events: repeats join a series, and the total has a budget."""

from collections.abc import Mapping

from agent.core import conditions
from agent.core.facts import Workload
from agent.core.late import dataclass, field, replace

# At most this many requests at once, and one more for each of these seconds: 5,000 hosts that flap permanently
# make 17 requests a second.
BURST, REFILL = 5, 300.0
# The API server forgets an Event an hour after its last change; a series is not continued past this, in seconds.
SERIES = 3000.0


@dataclass(frozen=True)
class Said:
    """Ready's status and reason."""

    status: str
    reason: str


@dataclass(frozen=True)
class Series:
    """One Event, and how often it has occurred so far, written or not."""

    name: str
    count: int
    at: float


@dataclass(frozen=True)
class Ledger:
    """`tokens`: requests that may be made now, as of `at` (monotonic seconds)."""

    tokens: float = BURST
    at: float = 0.0
    series: Mapping[tuple[str, Said], Series] = field(default_factory=dict)  # by uid and what was said

    def spend(self, now: float) -> "Ledger | None":
        """One request less; None: the budget is used up."""
        tokens = min(float(BURST), self.tokens + (now - self.at) / REFILL)
        return replace(self, tokens=tokens - 1, at=now) if tokens >= 1 else None

    def known(self, uid: str, said: Said, now: float) -> Series | None:
        series = self.series.get((uid, said))
        return series if series is not None and now - series.at < SERIES else None

    def noted(self, uid: str, said: Said, series: Series | None) -> "Ledger":
        """With this series; None: without it. Those of other objects are dropped."""
        kept = {key: value for key, value in self.series.items() if key[0] == uid and key != (uid, said)}
        return replace(self, series=kept if series is None else {**kept, (uid, said): series})


def said(workload: Workload) -> Said:
    found = conditions.of(workload, conditions.READY)
    return Said(found[0].status, found[0].reason) if found else Said("", "")
