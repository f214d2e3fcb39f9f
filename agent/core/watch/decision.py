"""Which silent hosts to take out now: a pure function of what was observed and of the last decision."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.core.watch import guard
from agent.core.watch.fleet import Grace, Host, Name, Standing, View, hosts
from agent.core.watch.guard import Count, Pace
from agent.core.watch.limits import Limits


@dataclass(frozen=True, slots=True)
class Asked:
    """How often a verdict on a host was given since it is silent, and when the next may be."""

    count: int
    again_at: float


@dataclass(frozen=True)
class Memory:
    """What one decision leaves to the next. `slow_at`: when, by zone, the last verdict was, at any pace. `tokens`:
    verdicts that the normal pace allows, as of `at`."""

    paces: Mapping[str, Pace] = field(default_factory=dict)
    grace: Grace = field(default_factory=Grace)
    asked: Mapping[Name, Asked] = field(default_factory=dict)
    slow_at: Mapping[str, float] = field(default_factory=dict)
    tokens: float = 0.0
    at: float = -math.inf


@dataclass(frozen=True)
class Decision:
    """`verdicts`: to be read live and, if nothing has changed, marked. `held`: silent hosts that the guard keeps
    in load balancing. `recheck_after`: seconds; None: not before the next reading."""

    memory: Memory
    verdicts: tuple[Name, ...] = ()
    held: Mapping[Name, Pace] = field(default_factory=dict)
    zones: Mapping[str, Count] = field(default_factory=dict)
    standings: Mapping[Standing, int] = field(default_factory=dict)
    recheck_after: float | None = None


def decide(views: Sequence[View], memory: Memory, now: float, limits: Limits) -> Decision:
    fresh = [view for view in views if not view.stale(now, limits)]
    found = [host for view in fresh for host in hosts(view, memory.grace, now, limits)]
    zones = guard.counts(found)
    paces = guard.paces(zones, memory.paces, limits) if fresh else dict(memory.paces)
    if _over(memory, paces):  # a host renewed again: the others get the time to follow
        return decide(views, replace(memory, paces={}, grace=Grace(now)), now, limits)
    if back := _back(memory, paces, zones):
        grace = replace(memory.grace, zones={**memory.grace.zones, **dict.fromkeys(back, now)})
        return decide(views, replace(memory, paces={**paces, **back}, grace=grace), now, limits)
    silent = [host for host in found if host.standing is Standing.SILENT and host.ready]
    before = _refreshed(replace(memory, paces=paces), silent, now, limits)
    chosen, after = _chosen(silent, before, now, limits)
    slowed = {host.name: paces[host.zone] for host in silent if host.name not in chosen}
    return Decision(
        memory=after,
        verdicts=chosen,
        held={name: pace for name, pace in slowed.items() if pace is not Pace.NORMAL},
        zones=zones,
        standings=Counter(host.standing for host in found),
        recheck_after=_recheck(found, silent, after, now, limits),
    )


def _over(memory: Memory, paces: Mapping[str, Pace]) -> bool:
    """Every zone was silent, and one is not any more."""
    return Pace.HELD in memory.paces.values() and bool(paces) and Pace.HELD not in paces.values()


def _back(memory: Memory, paces: Mapping[str, Pace], zones: Mapping[str, Count]) -> dict[str, Pace]:
    """Zones of which most was silent, and is not any more. One that is gone as a whole is not back."""
    return {
        zone: Pace.NORMAL
        for zone, before in memory.paces.items()
        if before is Pace.SLOW and paces.get(zone) is Pace.NORMAL and not zones[zone].gone
    }


def _refreshed(memory: Memory, silent: Sequence[Host], now: float, limits: Limits) -> Memory:
    """With the tokens of the time since, and without what no longer matters."""
    tokens = min(limits.per_second, memory.tokens + (now - memory.at) * limits.per_second)
    asked = {host.name: memory.asked[host.name] for host in silent if host.name in memory.asked}
    slow = {zone: at for zone, at in memory.slow_at.items() if now - at < limits.slow_every}
    return replace(memory, tokens=tokens, at=now, asked=asked, slow_at=slow)


def _chosen(silent: Sequence[Host], memory: Memory, now: float, limits: Limits) -> tuple[tuple[Name, ...], Memory]:
    """The longest silent first; behind it those that were asked in vain, which must not use up a zone's pace."""
    asked, slow_at, tokens = dict(memory.asked), dict(memory.slow_at), memory.tokens
    never = Asked(0, now)
    chosen = []
    for host in sorted(silent, key=lambda host: (asked.get(host.name, never).count, host.since, host.name)):
        pace, last = memory.paces[host.zone], asked.get(host.name, never)
        waits = pace is Pace.SLOW and host.zone in slow_at
        if tokens < 1 or last.again_at > now or waits or pace is Pace.HELD:
            continue
        chosen.append(host.name)
        tokens -= 1
        slow_at[host.zone] = now
        pause = min(limits.ask_again * 2.0 ** min(last.count, 16), limits.ask_most)
        asked[host.name] = Asked(last.count + 1, now + pause)
    return tuple(chosen), replace(memory, asked=asked, slow_at=slow_at, tokens=tokens)


def _recheck(
    found: Sequence[Host], silent: Sequence[Host], memory: Memory, now: float, limits: Limits
) -> float | None:
    due = [host.due_at - now for host in found if host.ready and host.due_at > now]
    due += [_again(host, memory, now, limits) for host in silent]
    first = min(due, default=math.inf)
    return None if first == math.inf else max(0.0, first)


def _again(host: Host, memory: Memory, now: float, limits: Limits) -> float:
    """Seconds until a verdict on this silent host may be possible."""
    pace, asked = memory.paces[host.zone], memory.asked.get(host.name)
    slow_at = memory.slow_at.get(host.zone)
    if pace is Pace.HELD:
        return math.inf
    return max(
        0.0 if asked is None else asked.again_at - now,
        0.0 if slow_at is None or pace is Pace.NORMAL else slow_at + limits.slow_every - now,
        0.0 if memory.tokens >= 1 else (1 - memory.tokens) / limits.per_second,
    )
