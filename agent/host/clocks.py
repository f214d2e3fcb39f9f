"""Wall clock and random numbers, as the parts take them."""

import random
import time
from datetime import UTC, datetime


def wall() -> str:
    """RFC 3339, whole seconds: as conditions have it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def exact_wall() -> str:
    """RFC 3339, microseconds: as Leases and Events have it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def elapsed() -> float:
    """Seconds that also pass while the machine is suspended, unlike those of the event loop."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def token() -> str:
    """16 hexadecimal digits."""
    return f"{random.getrandbits(64):016x}"
