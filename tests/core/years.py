"""A year of a large fleet by events: when each host is silent, and what the watcher's decision makes of it.

Only times at which a verdict is possible are computed. Of the hosts that renew, ten for each silent one of a zone
are shown to the decision: more would lower the zone's share further below the guard's, and change nothing.
"""

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.core.watch.decision import Memory, decide
from agent.core.watch.fleet import Heard, LeaseSeen, Name, View, WorkloadSeen
from agent.core.watch.guard import Pace
from agent.core.watch.limits import Limits

LIMITS = Limits()
PERIOD, DURATION, PLANNED = 60.0, 240, 600  # docs/scale.md for 5,000 hosts
HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
ZONES = ("a", "b", "c")
Span = tuple[float, float]


@dataclass(frozen=True)
class Silence:
    """`last`: when the host renewed last. `kind`: why it is silent."""

    host: Name
    kind: str
    last: float
    end: float
    duration: int = DURATION

    @property
    def due(self) -> float:
        return self.last + LIMITS.grace(self.duration)


@dataclass
class Year:
    """`away`: when nobody, not even the watcher, reached the API server. `whole`: every host is shown.
    `marks`: what was marked, and when."""

    size: int
    silences: Sequence[Silence]
    away: Sequence[Span] = ()
    whole: bool = False
    marks: list[tuple[float, Silence]] = field(default_factory=list)
    decisions: int = 0

    def __post_init__(self) -> None:
        self._base = dict(members(self.size))
        self._zones = {zone: [name for name, seen in self._base.items() if seen.zone == zone] for zone in ZONES}
        self._out: dict[Name, WorkloadSeen] = {}
        self._silent: dict[Name, Silence] = {}
        self._memory, self._grace_from = Memory(), 0.0

    def run(self) -> None:
        events: list[tuple[float, int, str, Silence | None]] = []
        events += [(at, number, "", None) for number, (_, at) in enumerate(self.away)]
        for number, one in enumerate(self.silences):
            events += [(one.last, number, "silent", one), (one.end, number, "back", one)]
            if one.end > one.due:
                events.append((look(one.due), number, "", None))
        heapq.heapify(events)
        ends = {end for _, end in self.away}
        while events:
            now, number, what, silence = heapq.heappop(events)
            if silence is not None:
                self._change(what, silence)
                if what == "back" and Pace.HELD in self._memory.paces.values():
                    heapq.heappush(events, (look(now), number, "", None))
                continue
            while events and events[0][0] == now and events[0][3] is None:
                heapq.heappop(events)
            if now in ends:  # a gap: every host has its grace again
                self._grace_from = now
                dues: Iterable[float] = {look(now + LIMITS.grace(one.duration)) for one in self._silent.values()}
            elif any(start <= now < end for start, end in self.away):
                continue
            else:
                dues = self._look(now)
            for at in dues:
                heapq.heappush(events, (at, number, "", None))

    def _change(self, what: str, silence: Silence) -> None:
        if what == "silent":
            self._silent[silence.host] = silence
        else:  # its agent renews, and gives Ready back
            del self._silent[silence.host]
            self._out.pop(silence.host, None)

    def _look(self, now: float) -> Iterable[float]:
        """Returns when to look again."""
        self.decisions += 1
        decision = decide([self._view(now)], self._memory, now, LIMITS)
        self._memory = decision.memory
        for name in decision.verdicts:
            self.marks.append((now, self._silent[name]))
            self._out[name] = WorkloadSeen("u", self._base[name].zone, ready=False, marked=True)
        waiting = any(one.due <= now and name not in self._out for name, one in self._silent.items())
        held = decision.recheck_after is None or decision.recheck_after == math.inf
        if decision.memory.grace.fleet > self._grace_from:
            self._grace_from = decision.memory.grace.fleet
            return [look(now + LIMITS.grace(one.duration)) for one in self._silent.values()][:1]
        return [now + max(1.0, decision.recheck_after or 0.0)] if waiting and not held else []

    def _view(self, now: float) -> View:
        silent = Counter(self._base[name].zone for name in self._silent)
        leases: dict[Name, Heard] = {}
        for zone, names in self._zones.items():
            well = (name for name in names if name not in self._silent)
            shown = itertools.islice(well, None if self.whole else 10 * silent[zone] + 20)
            leases |= dict.fromkeys(shown, Heard(LeaseSeen("l", "1", DURATION, True), now - PERIOD / 2))
        for name, one in self._silent.items():
            leases[name] = Heard(LeaseSeen("l", "1", one.duration, True), one.last)
        workloads = {name: self._out.get(name, self._base[name]) for name in leases}
        return View(leases, workloads, read_at=now, grace_from=self._grace_from)


def look(at: float) -> float:
    """The first look after it."""
    return math.ceil(at / LIMITS.look_every) * LIMITS.look_every


def members(size: int) -> Iterator[tuple[Name, WorkloadSeen]]:
    for number in range(size):
        yield ("shop", f"vm-{number}"), WorkloadSeen("u", ZONES[number % len(ZONES)], ready=True)


class Plan:
    """What happens in the year. Nothing happens to a host while it is silent already."""

    def __init__(self, size: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._busy: dict[Name, list[Span]] = {}
        self._phase = {name: self._random.uniform(0, PERIOD) for name, _ in members(size)}
        self._zone = {name: seen.zone for name, seen in members(size)}
        self.silences: list[Silence] = []
        self.counts: Counter[str] = Counter()

    def any_time(self) -> float:
        return self._random.uniform(DAY, YEAR - DAY)

    def takes(self, least: float, most: float) -> float:
        return self._random.uniform(least, most)

    def chance(self, share: float) -> bool:
        return self._random.random() < share

    def hosts(self, share: float = 1.0, zone: str = "") -> list[Name]:
        there = [name for name in self._phase if zone in ("", self._zone[name])]
        return self._random.sample(there, int(share * len(there)))

    def silent(self, kind: str, host: Name, start: float, end: float, duration: int = DURATION) -> bool:
        """From the last renewal before `start` on."""
        last = start - (start - self._phase[host]) % PERIOD
        span, busy = (last - HOUR, end + HOUR), self._busy.setdefault(host, [])
        if any(other[0] < span[1] and span[0] < other[1] for other in busy):
            return False
        busy.append(span)
        self.silences.append(Silence(host, kind, last, end, duration))
        self.counts[kind] += 1
        return True

    def together(self, kind: str, hosts: Iterable[Name], span: Span) -> None:
        """They come back one after another, within a period."""
        for host in hosts:
            self.silent(kind, host, span[0], span[1] + self.takes(0, PERIOD))


def near(span: Span, spans: Iterable[Span]) -> bool:
    return any(span[0] < end + HOUR and start - HOUR < span[1] for start, end in spans)


def by_kind(marks: Iterable[tuple[float, Silence]]) -> Mapping[str, int]:
    return Counter(one.kind for _, one in marks)
