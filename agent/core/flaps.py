"""A host that becomes not ready too often becomes ready again later. Ready=False is never delayed.

The first flaps within a window cause no delay. After more, Ready=True waits after the last flap for a time that
doubles with each flap, up to a limit. Flaps older than the window do not count.
"""

from collections.abc import Sequence

FREE = 3  # flaps within the window that cause no delay
WINDOW = 600.0  # seconds
FIRST, MOST = 15.0, 300.0  # seconds that Ready=True waits after the last flap: least and most


def recent(falls: Sequence[float], now: float) -> tuple[float, ...]:
    """Those that still count."""
    return tuple(t for t in falls if now - t < WINDOW)


def held_until(falls: Sequence[float], now: float) -> float | None:
    """When Ready may return; None: at once. `falls`: when it became not ready, oldest first (monotonic)."""
    counted = recent(falls, falls[-1]) if falls else ()
    extra = len(counted) - FREE
    if extra <= 0:
        return None
    until = counted[-1] + min(MOST, FIRST * 2.0 ** min(extra - 1, 16))
    return until if now < until else None
