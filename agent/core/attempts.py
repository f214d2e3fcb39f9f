"""When a loop last looked or tried, and when it does so again. For people alone: nothing is decided by it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LastAttempt:
    """Times on the event loop's clock. `next_at`: None where only news is waited for. `failed`: the last one did
    not bring what it was for."""

    last_at: float
    next_at: float | None = None
    failed: bool = False
