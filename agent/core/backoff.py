"""How long to wait before the next try: growing, bounded, and spread by chance."""

from dataclasses import dataclass

# Past this many tries nothing grows any more: a float overflows at 2.0 ** 1024, and a source may be away for days.
_STEPS = 64
# The longest, in seconds, that somebody else's word may keep a host away: a slip there must not silence a fleet.
LONGEST = 300.0


@dataclass(frozen=True)
class Backoff:
    """`first`, `most`: the shortest and the longest whole delay in seconds. `factor`: growth from try to try."""

    first: float
    factor: float
    most: float

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.most and self.factor >= 1):
            raise ValueError(f"cannot back off: {self} does not grow from first to most")

    def delay(self, attempt: int, random01: float, asked: float | None = None) -> float:
        """Seconds to wait after failure number `attempt` (from 0): at least half of the whole delay, so that
        chance spreads a fleet and never makes a host spin. `random01` lies in [0, 1).

        `asked`: the other side wants no try for so long. A fleet that was told the same does not come back as one.
        """
        whole = min(self.most, self.first * self.factor ** min(attempt, _STEPS))
        return max(whole * (1 + random01) / 2, min(asked or 0.0, LONGEST) * (1 + random01 / 2))
