"""A host that falls too often returns later. A fall itself is never held back.

The first falls within a window are free. From the next one on, the return waits from the last fall on for a
time that doubles with each fall and is bounded. A host that stays up loses its past when the window is over.
"""

from collections.abc import Sequence

FREE = 3  # falls within the window that cost nothing
WINDOW = 600.0  # seconds
FIRST, MOST = 15.0, 300.0  # seconds that a return waits after the last fall: least and most


def recent(falls: Sequence[float], now: float) -> tuple[float, ...]:
    """Those that still count."""
    return tuple(t for t in falls if now - t < WINDOW)


def held_until(falls: Sequence[float], now: float) -> float | None:
    """When Ready may return; None: at once. `falls`: when Ready fell, oldest first (monotonic seconds)."""
    counted = recent(falls, falls[-1]) if falls else ()
    extra = len(counted) - FREE
    if extra <= 0:
        return None
    until = counted[-1] + min(MOST, FIRST * 2.0 ** min(extra - 1, 16))
    return until if now < until else None
