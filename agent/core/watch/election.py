"""Which replica of the watcher may write: the holder of one Lease, judged by observed changes of it.

Clocks are never compared. A replica counts from its own observation of a change, and the holder from before it
sent its renewal, so the holder stops before another one begins, however slow the network is.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Terms:
    """Times in seconds; the first three are those of Kubernetes' own controllers. `reserve`: the leader writes
    only while its Lease has so much left, so that a write is done before another replica may begin."""

    duration: int = 15
    deadline: float = 10.0
    retry: float = 2.0
    reserve: float = 5.0


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
        return self.holder in ("", self.me) or now - self.seen_at >= self.terms.duration

    def renewed(self, version: str, began: float, now: float) -> "Election":
        return replace(self, holder=self.me, version=version, seen_at=now, held_from=began)

    def released(self) -> "Election":
        return replace(self, held_from=None)

    def leads(self, now: float) -> bool:
        limit = min(self.terms.deadline, self.terms.duration - self.terms.reserve)
        return self.held_from is not None and now - self.held_from <= limit
