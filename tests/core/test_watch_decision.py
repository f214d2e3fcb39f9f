"""The watcher's decision: every small fleet against the rule as a table, and properties over time."""

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.watch.decision import Memory, decide
from agent.core.watch.fleet import Heard, LeaseSeen, Name, View, WorkloadSeen
from agent.core.watch.guard import Pace
from agent.core.watch.limits import Limits
from tests.core.fleets import Fleet, Member, fleet

pytestmark = pytest.mark.watcher

LIMITS = Limits()
NOW = 1000.0
# since when the Lease has not changed, Ready, marked; None: never renewed
KINDS = {
    "well": (1.0, True, False),
    "late": (25.0, True, False),
    "silent": (60.0, True, False),
    "marked": (600.0, False, True),
    "off": (600.0, False, False),
    "bare": None,
}
Kind = tuple[str, str]  # kind and zone


def view(kinds: Sequence[Kind]) -> View:
    leases: dict[Name, Heard] = {}
    workloads: dict[Name, WorkloadSeen] = {}
    for number, (kind, zone) in enumerate(kinds):
        name, what = ("shop", f"{kind}-{number}"), KINDS[kind]
        silence, ready, marked = what or (600.0, True, False)
        lease = LeaseSeen(f"l{number}", "7", 40, what is not None, f"u{number}")
        leases[name] = Heard(lease, NOW - silence - (0 if kind == "well" else number))
        workloads[name] = WorkloadSeen(f"u{number}", zone, ready, marked)
    return View(leases, workloads, read_at=NOW - 1)


def expected(kinds: Sequence[Kind]) -> tuple[set[int], dict[int, Pace]]:
    """The issue's table, written once more: who is marked now, and who is kept."""
    failing = Counter(zone for kind, zone in kinds if kind in ("late", "silent", "marked"))
    alive = Counter(zone for kind, zone in kinds if kind == "well")
    zones = failing.keys() | alive.keys()
    shares = {zone: failing[zone] / (failing[zone] + alive[zone]) for zone in zones}
    waiting = [number for number, (kind, _) in enumerate(kinds) if kind == "silent"]
    waiting.sort(reverse=True)  # a higher number has been silent for longer
    if sum(failing.values()) >= 3 and not sum(alive.values()):
        return set(), dict.fromkeys(waiting, Pace.HELD)
    marked, kept = set[int](), dict[int, Pace]()
    for zone in zones:
        mine = [number for number in waiting if kinds[number][1] == zone]
        others_well = all(shares[other] < 0.55 for other in zones - {zone})
        gone = shares[zone] == 1 and others_well
        if failing[zone] >= 3 and shares[zone] >= 0.55 and not gone:
            marked |= set(mine[:1])
            kept |= dict.fromkeys(mine[1:], Pace.SLOW)
        else:
            marked |= set(mine)
    return marked, kept


EACH = [(kind, zone) for kind in KINDS for zone in ("a", "b")]


@pytest.mark.parametrize("size", range(6))
def test_every_small_fleet_is_judged_as_the_table_says(size: int) -> None:
    for kinds in itertools.combinations_with_replacement(EACH, size):
        decision = decide([view(kinds)], Memory(), NOW, LIMITS)
        marked, kept = expected(kinds)
        numbers = {int(name.rpartition("-")[2]) for _, name in decision.verdicts}
        held = {int(name.rpartition("-")[2]): pace for (_, name), pace in decision.held.items()}
        assert (numbers, held) == (marked, kept), kinds


def test_the_guard_leaves_a_zone_later_than_it_enters() -> None:
    def paces(failing: int, before: Memory) -> Memory:
        return decide(
            [view([("marked", "a")] * failing + [("well", "a")] * (20 - failing))], before, NOW, LIMITS
        ).memory

    below, entered = paces(10, Memory()), paces(11, Memory())
    assert below.paces == {"a": Pace.NORMAL} and entered.paces == {"a": Pace.SLOW}
    assert paces(9, entered).paces == {"a": Pace.SLOW}
    assert paces(8, entered).paces == {"a": Pace.NORMAL}


def test_a_stale_view_gives_no_verdict() -> None:
    there = view([("silent", "a"), ("well", "a")])
    assert decide([there], Memory(), NOW, LIMITS).verdicts
    assert not decide([there], Memory(), NOW + LIMITS.stale_after, LIMITS).verdicts


def test_a_lease_counts_between_its_bounds() -> None:
    assert [LIMITS.grace(seconds) for seconds in (0, 1, 40, 600, 315_360_000)] == [20, 20, 40, 600, 900]


def test_a_lease_of_another_object_is_no_evidence() -> None:
    """The ExternalWorkload was deleted and created again under its name."""
    there = view([("silent", "a")])
    (name,) = there.workloads
    again = there.with_workload(name, WorkloadSeen("another", "a", ready=True))
    assert not decide([again], Memory(), NOW, LIMITS).verdicts


def test_a_host_that_cannot_be_marked_does_not_use_up_the_pace_of_its_zone() -> None:
    there = view([("silent", "a")] * 4 + [("well", "a")])
    memory, order = Memory(), []
    for second in range(0, 61, 10):
        decision = decide([_read(there, NOW + second)], memory, NOW + second, LIMITS)
        memory = decision.memory
        order += [int(name.rpartition("-")[2]) for _, name in decision.verdicts]
    assert order[:4] == [3, 2, 1, 0] and len(order) == 7, "nothing could be written: each has its turn"


def _read(there: View, now: float) -> View:
    """Read once more; only the host that is well has renewed."""
    leases = {
        name: Heard(heard.lease, now) if name[1].startswith("well") else heard
        for name, heard in there.leases.items()
    }
    return View(leases, there.workloads, read_at=now)


def test_not_more_than_twenty_a_second_outside_the_guard() -> None:
    kinds = [("silent", "a")] * 50 + [("well", "a")] * 60
    first = decide([view(kinds)], Memory(), NOW, LIMITS)
    assert len(first.verdicts) == 20 and first.recheck_after is not None and first.recheck_after <= 1
    later = decide([view(kinds)], first.memory, NOW + 1, LIMITS)
    assert len(later.verdicts) == 20 and not set(later.verdicts) & set(first.verdicts)


# over time -----------------------------------------------------------------------------------------


Downs = tuple[tuple[float, float], ...]


def named(count: int, zone: str = "", down: Downs = (), period: float = 10.0) -> list[Member]:
    return [
        Member(("shop", f"{zone}{number}"), zone, period, number * 10 / count, down) for number in range(count)
    ]


def test_one_dead_host_is_marked_within_its_grace_and_one_look() -> None:
    there = fleet(*named(9), Member(("shop", "dead"), down=((200.0, 1e9),), offset=4.0))
    there.run(400)
    (at,) = there.marked_at(("shop", "dead"))
    assert 194 + 40 <= at <= 194 + 45 and len(there.marks) == 1


def test_a_fleet_that_loses_the_api_together_is_kept_and_gets_its_grace_again() -> None:
    """Hosts come back one after another: the first one must not make the others a zone that is gone."""
    down = ((200.0, 600.0),)
    members = [*named(20, "a", down=down), *named(20, "b", down=down)]
    for number, member in enumerate(members):
        member.down = ((200.0, 600.0 + number),)
    there = fleet(*members)
    there.run(900)
    assert there.marks == []


def test_hosts_that_renew_rarely_say_nothing_about_a_network_that_fails() -> None:
    """Half of the fleet renews once a minute: it is not late when the first half is silent."""
    down = ((600.0, 900.0),)
    there = fleet(*named(20, "a", down=down), *named(20, "b", down=down, period=60.0))
    there.run(900)
    assert there.marks == []


def test_a_zone_that_is_gone_is_taken_out_at_once_while_others_are_well() -> None:
    there = fleet(*named(30, "a", down=((200.0, 1e9),)), *named(30, "b"), *named(30, "c"))
    there.run(400)
    assert {name[1][0] for _, name in there.marks} == {"a"} and len(there.marks) == 30
    assert max(at for at, _ in there.marks) <= 200 + 45


def test_most_of_a_zone_is_taken_out_one_by_one() -> None:
    there = fleet(*named(60, "a", down=((200.0, 1e9),)), *named(40, "b"))
    for member in list(there.members.values())[:20]:
        member.down = ()
    there.run(400)
    times = [at for at, _ in there.marks]
    assert 15 <= len(times) <= 17
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(times))


def test_a_zone_whose_network_is_back_gets_its_grace_again() -> None:
    """Its hosts renew once a minute: the guard leaves while a third of them still has to. Those that are dead are
    marked a grace later."""
    dead = named(8, "dead-", down=((600.0, 1e9),), period=60.0)
    alive = [
        *named(12, "a", period=60.0),
        *named(20, "back-", down=((600.0, 900.0),), period=60.0),
        *named(20, "b"),
    ]
    for number, member in enumerate([*alive, *dead]):
        member.zone = "b" if member.name[1].startswith("b") and "back" not in member.name[1] else "a"
        member.offset = number * 7 % member.period
    there = fleet(*alive, *dead)
    there.run(1300)
    times = [at for at, name in there.marks if at < 960]
    assert times and all(later - earlier >= 10 for earlier, later in itertools.pairwise(times))
    after = {name for at, name in there.marks if at >= 960}
    assert all(name[1].startswith("dead-") for name in after)
    assert {name for _, name in there.marks} >= {member.name for member in dead}
    assert min(at for at, _ in there.marks if at >= 960) >= 900 + 240


def test_a_gap_gives_the_whole_fleet_its_grace_again() -> None:
    """The dead host is silent for longer than its grace when the API server is back."""
    there = fleet(*named(9), Member(("shop", "dead"), down=((200.0, 1e9),)), blind=((210.0, 500.0),))
    there.run(600)
    (at,) = there.marked_at(("shop", "dead"))
    assert 540 <= at <= 546 and len(there.marks) == 1


outage = st.floats(100, 400).flatmap(lambda start: st.tuples(st.just(start), st.floats(start + 1, 800)))


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    members = []
    for number in range(draw(st.integers(1, 8))):
        down = draw(st.lists(outage, max_size=2))
        period = draw(st.sampled_from([5.0, 10.0, 60.0]))
        zone = draw(st.sampled_from(["", "a", "b"]))
        offset = draw(st.floats(0, period))
        members.append(Member(("shop", f"vm-{number}"), zone, period, offset, tuple(down)))
    return fleet(*members, blind=tuple(draw(st.lists(outage, max_size=2))))


@given(fleets())
def test_no_host_is_marked_while_it_renews_and_none_after_a_gap(there: Fleet) -> None:
    there.run(900)
    for at, name in there.marks:
        member = there.members[name]
        grace = LIMITS.grace(int(4 * member.period))
        assert member.silent_since(at) >= grace - 1e-6, "it was marked before its time"
        for start, end in there.blind:
            if end - start > LIMITS.stale_after + LIMITS.look_every:
                assert not start + LIMITS.stale_after < at < end + grace, "marked on a stale view"


@given(fleets(), st.floats(100, 400))
def test_every_silent_host_is_marked_in_time_outside_the_guard(there: Fleet, at: float) -> None:
    there.blind = ()
    for member in there.members.values():
        member.down = ()
    dead = there.members["shop", "vm-0"]
    dead.down = ((at, 1e9),)
    there.run(900)
    grace = LIMITS.grace(int(4 * dead.period))
    (marked,) = there.marked_at(dead.name)
    assert marked <= dead.last(900) + grace + LIMITS.look_every + 0.1 and len(there.marks) == 1
