"""How long to wait before the next try: growing, bounded, and spread by chance."""

from dataclasses import dataclass

# Past this many tries nothing grows any more: a float overflows at 2.0 ** 1024, and a source may be away for days.
_STEPS = 64


@dataclass(frozen=True)
class Backoff:
    """`first`, `most`: the shortest and the longest whole delay in seconds. `factor`: growth from try to try."""

    first: float
    factor: float
    most: float

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.most and self.factor >= 1):
            raise ValueError(f"cannot back off: {self} does not grow from first to most")

    def delay(self, attempt: int, random01: float) -> float:
        """Seconds to wait after failure number `attempt` (from 0): at least half of the whole delay, so that
        chance spreads a fleet and never makes a host spin. `random01` lies in [0, 1)."""
        whole = min(self.most, self.first * self.factor ** min(attempt, _STEPS))
        return whole * (1 + random01) / 2
