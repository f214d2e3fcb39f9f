"""When a loop last made an attempt, and when it makes the next. Only for people: no decision depends on it."""

from agent.core.late import dataclass


@dataclass(frozen=True)
class LastAttempt:
    """Times on the event loop's clock. `next_at`: None if the loop waits only for a change. `failed`: the last
    attempt did not succeed."""

    last_at: float
    next_at: float | None = None
    failed: bool = False
