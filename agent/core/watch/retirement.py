"""Which members of a WorkloadGroup have been silent for days, and which of them are due: a pure function.

No clock is compared: a Lease that has one resourceVersion at both ends of an hour was not renewed in it. Hours are
counted on the watcher's monotonic clock and kept in the group's status. So they survive a restart, and a time in
which no watcher runs does not count.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

DAY = 24
# Of a group that may be retired in a day; at least one, or a small group would keep its dead for ever.
SHARE = 0.05
MOST = 500  # silent members that are kept: 5 % of 10,000. A status has to stay far below etcd's 1.5 MiB


@dataclass(frozen=True, slots=True)
class Silent:
    """`lease`: the resourceVersion that the Lease has had for `hours`. `due`: it is to be retired now."""

    name: str
    uid: str
    lease: str
    hours: int = 0
    due: bool = False


@dataclass(frozen=True, slots=True)
class Ledger:
    """As the group's status has it. `granted`: how many became due since there were none for a day; `rest`: hours
    since one of them was due."""

    silent: tuple[Silent, ...] = ()
    granted: int = 0
    rest: int = 0


NONE = Ledger()


@dataclass(frozen=True, slots=True)
class Member:
    """`lease`: its resourceVersion; "": there is none. `retiring`: its retirement has begun."""

    uid: str
    lease: str
    ready: bool
    silent: bool
    retiring: bool = False


def after_an_hour(before: Ledger, members: Mapping[str, Member], days: int) -> Ledger:
    """At least an hour passed since `before`."""
    kept = [one for old in before.silent if (one := _still(old, members.get(old.name), days)) is not None]
    named = {one.name for one in kept}
    kept += [one for one in _new(members) if one.name not in named][: MOST - len(kept)]
    was_due = any(one.due for one in before.silent)
    rest = 0 if was_due or not before.granted else before.rest + 1
    granted = before.granted if rest < DAY else 0
    return _granted(Ledger(tuple(kept), granted, rest if granted else 0), len(members), days)


def _still(old: Silent, member: Member | None, days: int) -> Silent | None:
    if member is None or member.uid != old.uid or member.ready:
        return None
    if old.due and member.retiring:  # its Lease goes first
        return old
    if not member.silent or member.lease != old.lease:
        return None
    hours = min(old.hours + 1, days * DAY)
    return replace(old, hours=hours, due=old.due and hours >= days * DAY)


def _new(members: Mapping[str, Member]) -> Iterator[Silent]:
    for name, member in sorted(members.items()):
        if member.silent and member.lease and not member.ready:
            yield Silent(name, member.uid, member.lease)


def quota(members: int) -> int:
    """How many of a group may be retired in a day."""
    return max(1, int(SHARE * members))


def _granted(ledger: Ledger, members: int, days: int) -> Ledger:
    """Those that were granted count until none of them was due for a day: so within any day not more than the
    quota is retired, whenever the program that retires them runs."""
    free = max(0, quota(members) - ledger.granted)
    ripe = [one.name for one in ledger.silent if one.hours >= days * DAY and not one.due][:free]
    if not ripe:
        return ledger
    silent = tuple(replace(one, due=True) if one.name in ripe else one for one in ledger.silent)
    return Ledger(silent, ledger.granted + len(ripe), 0)
