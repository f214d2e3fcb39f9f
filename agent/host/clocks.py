"""Wall clock and random numbers, as the parts take them."""

import random
from datetime import UTC, datetime


def wall() -> str:
    """RFC 3339, whole seconds: as conditions have it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def exact_wall() -> str:
    """RFC 3339, microseconds: as Leases and Events have it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def token() -> str:
    """16 hexadecimal digits."""
    return f"{random.getrandbits(64):016x}"
