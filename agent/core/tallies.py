"""What this process has counted since its start, for metrics alone: no decision depends on it."""

from collections import Counter
from typing import Final

from agent.core.late import dataclass, field

# What the API server answers; any other code is counted as "other", so that a server cannot make series.
_CODES: Final = frozenset({200, 201, 400, 401, 403, 404, 409, 410, 422, 429, 500, 502, 503, 504})
_VERBS: Final = frozenset({"GET", "WATCH", "PATCH", "POST"})


@dataclass
class Durations:
    """In seconds."""

    count: int = 0
    sum: float = 0.0
    most: float = 0.0

    def add(self, seconds: float) -> None:
        self.count, self.sum, self.most = self.count + 1, self.sum + seconds, max(self.most, seconds)


@dataclass
class Tallies:
    """`attempts`: by the name of `core.attempts` and whether it failed. `requests`: to the API server, by verb and
    code. `probes`: how long each took, by name. `lag`: how late the event loop woke up."""

    attempts: Counter[tuple[str, bool]] = field(default_factory=Counter)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    probes: dict[str, Durations] = field(default_factory=dict)
    lag: Durations = field(default_factory=Durations)
    drifts: int = 0
    repairs: int = 0

    def requested(self, verb: str, code: int | None) -> None:
        """`code`: None without an answer."""
        said = "none" if code is None else str(code) if code in _CODES else "other"
        self.requests[verb if verb in _VERBS else "other", said] += 1

    def probed(self, name: str, seconds: float) -> None:
        self.probes.setdefault(name, Durations()).add(seconds)
