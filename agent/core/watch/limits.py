"""The watcher's numbers, each with its reason."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Times in seconds."""

    # From one reading of all Leases to the next: what a dead host costs beyond its own Lease's duration.
    look_every: float = 5.0
    # A Lease's leaseDurationSeconds counts within these bounds. Below the first, one lost renewal would take a
    # host out; past the second, which is also what admission.yaml allows, a dead host would stay for too long.
    shortest: float = 20.0
    longest: float = 900.0
    # A Lease of this duration or more is a planned stop of the agent (600); no period of renewals needs so much.
    planned_from: float = 300.0
    # Without a complete reading for so many looks the view is stale, and every host gets its grace again.
    looks: int = 3
    # Below this number of hosts a share is chance.
    guard_from: int = 3
    # The share of a zone from which its failure is more likely one of the network than of hosts; Kubernetes' node
    # controller has the same. It has to fall below the second before the zone counts as well again.
    guard_enters: float = 0.55
    guard_leaves: float = 0.45
    # The pace in such a zone: slow enough that a person can act, fast enough that retries find a live host.
    slow_every: float = 10.0
    # The pace elsewhere: linkerd-destination sends each change to every client of the Service.
    per_second: float = 20.0
    # From one verdict on a host to the next where that could not be written; doubled each time, up to the second.
    ask_again: float = 5.0
    ask_most: float = 60.0
    # What the live readings before a verdict may take at most; older ones are not acted on.
    fresh: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.look_every <= 60:
            raise ValueError(f"{self.look_every:g} s between two readings is not between 0 and 60")
        if not 0 < self.shortest <= self.longest <= 3600:
            raise ValueError("the shortest and the longest duration are not 0 < shortest <= longest <= 3600")
        if not 0 < self.guard_leaves <= self.guard_enters <= 1:
            raise ValueError("the guard's shares are not 0 < guard-leaves <= guard-enters <= 1")
        if self.guard_from < 1 or self.slow_every <= 0 or self.per_second < 1:
            raise ValueError("the guard's numbers are not positive")

    @property
    def stale_after(self) -> float:
        return self.looks * self.look_every

    def grace(self, duration: int) -> float:
        return min(max(float(duration), self.shortest), self.longest)
