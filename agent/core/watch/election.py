"""Which replica of the watcher may write: the holder of one Lease, judged by observed changes of it.

Clocks are never compared. A replica counts from its own observation of a change, and the holder from before it
sent its renewal, so the holder stops before another one begins, however slow the network is.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Terms:
    """Times in seconds; the first three are those of Kubernetes' own controllers. `look`: how often the others
    read the Lease. `early`: how long before its end another replica may begin, so that a hand-over ends within
    `duration`. `reserve`: the leader writes only while so much is left until then, so that a write is done before
    another replica may begin."""

    duration: int = 15
    deadline: float = 10.0
    retry: float = 2.0
    look: float = 0.5
    early: float = 1.0
    reserve: float = 5.0

    @property
    def free_after(self) -> float:
        """Without a renewal."""
        return self.duration - self.early


@dataclass(frozen=True)
class Election:
    """As one replica knows it. `seen_at`: when the last change was observed. `held_from`: when this replica's last
    successful renewal began; None: it does not lead."""

    me: str
    terms: Terms
    holder: str = ""
    version: str = ""
    seen_at: float = 0.0
    held_from: float | None = None

    def observed(self, holder: str, version: str, now: float) -> "Election":
        if version == self.version:
            return self
        held = self.held_from if holder == self.me else None
        return replace(self, holder=holder, version=version, seen_at=now, held_from=held)

    def may_try(self, now: float) -> bool:
        return self.holder in ("", self.me) or now - self.seen_at >= self.terms.free_after

    def pause(self, now: float) -> float:
        """Seconds until the next look. Another replica looks more often than the leader renews, because it
        counts from when it sees a renewal."""
        if self.holder in ("", self.me):
            return self.terms.retry
        left = self.seen_at + self.terms.free_after - now
        return min(self.terms.look, left) if left > 0 else self.terms.look

    def renewed(self, version: str, began: float, now: float) -> "Election":
        return replace(self, holder=self.me, version=version, seen_at=now, held_from=began)

    def released(self) -> "Election":
        return replace(self, held_from=None)

    def leads(self, now: float) -> bool:
        limit = min(self.terms.deadline, self.terms.free_after - self.terms.reserve)
        return self.held_from is not None and now - self.held_from <= limit
