"""How long to wait before the next attempt: growing, bounded, and randomised."""

from agent.core.late import dataclass

# After this many attempts the delay no longer grows: a float overflows at 2.0 ** 1024, and outages may last days.
_STEPS = 64
# The longest Retry-After, in seconds, that a host follows: an error of one server must not stop a fleet.
LONGEST = 300.0


@dataclass(frozen=True)
class Backoff:
    """`first`, `most`: the shortest and the longest whole delay in seconds. `factor`: growth per attempt."""

    first: float
    factor: float
    most: float

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.most and self.factor >= 1):
            raise ValueError(f"cannot back off: {self} does not grow from first to most")

    def delay(self, attempt: int, random01: float, asked: float | None = None) -> float:
        """Seconds to wait after failure number `attempt` (from 0): at least half of the whole delay, so that the
        random part spreads a fleet and no host retries without a pause. `random01` lies in [0, 1).

        `asked`: the server's Retry-After. Hosts that got the same value still come back at different times.
        """
        whole = min(self.most, self.first * self.factor ** min(attempt, _STEPS))
        return max(whole * (1 + random01) / 2, min(asked or 0.0, LONGEST) * (1 + random01 / 2))
