"""A fleet in simulated time: hosts renew their Leases or do not, the watcher reads, decides and marks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.core.watch.decision import Decision, Memory, decide
from agent.core.watch.fleet import LeaseSeen, Name, View, WorkloadSeen
from agent.core.watch.limits import Limits

LIMITS = Limits()
UID = "uid-{}"


@dataclass
class Member:
    """`down`: the times in which it renews nothing, each from and to. It is Ready again after a renewal."""

    name: Name
    zone: str = ""
    period: float = 10.0
    offset: float = 0.0
    down: tuple[tuple[float, float], ...] = ()
    ready: bool = True
    marked: bool = False

    def renewals(self, now: float) -> int:
        """How often it has renewed until now."""
        return sum(1 for at in self._times(now))

    def last(self, now: float) -> float:
        return max(self._times(now), default=0.0)

    def _times(self, now: float) -> Iterable[float]:
        number = 0
        while (at := self.offset + number * self.period) <= now:
            if not any(start <= at < end for start, end in self.down):
                yield at
            number += 1

    def silent_since(self, now: float) -> float:
        return now - self.last(now)


@dataclass
class Fleet:
    """`blind`: the times without a reading. `marks`: when each host was marked."""

    members: Mapping[Name, Member]
    blind: tuple[tuple[float, float], ...] = ()
    limits: Limits = LIMITS
    marks: list[tuple[float, Name]] = field(default_factory=list)
    view: View = field(default_factory=View)
    memory: Memory = field(default_factory=Memory)
    decision: Decision | None = None

    def run(self, until: float) -> None:
        now = next_look = 0.0
        while now <= until:
            if now >= next_look:
                next_look = now + self.limits.look_every
                self._look(now)
            recheck = self._decide(now)
            now = min(next_look, now + max(recheck, 0.05))

    def _look(self, now: float) -> None:
        if any(start <= now < end for start, end in self.blind):
            return
        leases = {
            name: LeaseSeen(f"lease-{name}", str(member.renewals(now)), int(4 * member.period), True)
            for name, member in self.members.items()
        }
        before = self.view.leases
        self.view = self.view.with_leases(leases, now, now, self.limits)
        for name, member in self.members.items():
            heard = self.view.leases[name]
            if name in before and heard != before[name] and member.marked:
                member.marked, member.ready = False, True  # the agent has renewed, and gives Ready back
            self.view = self.view.with_workload(name, self._seen(member))

    def _seen(self, member: Member) -> WorkloadSeen:
        return WorkloadSeen(f"uid-{member.name}", member.zone, member.ready, member.marked)

    def _decide(self, now: float) -> float:
        self.decision = decide([self.view], self.memory, now, self.limits)
        self.memory = self.decision.memory
        for name in self.decision.verdicts:
            member = self.members[name]
            live = LeaseSeen(f"lease-{name}", str(member.renewals(now)), int(4 * member.period), True)
            if live.version == self.view.leases[name].lease.version:  # read live before each verdict
                member.ready, member.marked = False, True
                self.marks.append((now, name))
            self.view = self.view.with_lease(name, live, now).with_workload(name, self._seen(member))
        recheck = self.decision.recheck_after
        return self.limits.look_every if recheck is None else recheck

    def marked_at(self, name: Name) -> list[float]:
        return [at for at, marked in self.marks if marked == name]


def fleet(*members: Member, blind: tuple[tuple[float, float], ...] = ()) -> Fleet:
    return Fleet({member.name: member for member in members}, blind)
