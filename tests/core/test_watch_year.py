"""A year of 5,000 hosts: reboots, upgrades, deaths, outages of zones, of the issuer and of the API server."""

from collections import Counter

from tests.core.years import DAY, HOUR, LIMITS, PLANNED, YEAR, Plan, Span, Year, by_kind, near

SIZE = 5000
MINUTE = 60.0


def test_what_is_shown_of_hosts_that_renew_is_enough() -> None:
    plan = Plan(60, seed=1)
    for start in range(40):
        hosts, kind = plan.hosts(plan.takes(0.0, 1.0), "abc"[start % 3] if start % 4 else ""), f"outage {start}"
        plan.together(kind, hosts, ((start + 1) * DAY, (start + 1) * DAY + plan.takes(MINUTE, HOUR)))
    some, all_of_them = Year(60, plan.silences), Year(60, plan.silences, whole=True)
    some.run()
    all_of_them.run()
    assert some.marks == all_of_them.marks and len(some.marks) > 100


def ordinary(plan: Plan) -> None:
    """Each host reboots once a month; of 50 reboots one takes long. Agents are upgraded, of which few do not come
    back in time. 100 hosts die in the year, and are replaced within days."""
    for host in plan.hosts():
        for month in range(1, 12):
            start = month * YEAR / 12 + plan.takes(0, 20 * DAY)
            slow = plan.chance(0.02)
            plan.silent("slow reboot" if slow else "reboot", host, start, start + _boot(plan, slow=slow))
    for host in plan.hosts(0.3):
        start, fails = plan.any_time(), plan.chance(0.01)
        end = start + (plan.takes(700, 2 * HOUR) if fails else plan.takes(5, 500))
        plan.silent("failed upgrade" if fails else "upgrade", host, start, end, PLANNED)
    for host in plan.hosts(0.02):
        start = plan.any_time()
        plan.silent("death", host, start, start + plan.takes(HOUR, 3 * DAY))


def _boot(plan: Plan, *, slow: bool) -> float:
    return plan.takes(310, 1800) if slow else plan.takes(20, 170)


def spans(plan: Plan, count: int, least: float, most: float) -> list[Span]:
    """One in each part of the year, so that they do not meet."""
    part = (YEAR - 4 * DAY) / count
    starts = [2 * DAY + number * part + plan.takes(0, part - 2 * DAY) for number in range(count)]
    return [(start, start + plan.takes(least, most)) for start in starts]


def test_a_year_of_a_large_fleet() -> None:
    plan = Plan(SIZE, seed=20)
    zone, most, issuer = (spans(plan, 1, 20 * MINUTE, 25 * MINUTE) for _ in range(3))
    away = spans(plan, 12, MINUTE, 20 * MINUTE)
    for span in zone:
        plan.together("zone", plan.hosts(1.0, "a"), span)
    for span in most:
        plan.together("most of a zone", plan.hosts(0.7, "c"), span)
    for span in issuer:
        plan.together("issuer", plan.hosts(), span)
    ordinary(plan)
    year = Year(SIZE, plan.silences, away)
    year.run()

    marked = Counter(id(one) for _, one in year.marks)
    assert max(marked.values()) == 1, "once for each silence"
    for at, one in year.marks:
        assert one.due <= at < one.end, "silent for its grace, and not back yet"
        assert not any(start <= at < end + LIMITS.grace(one.duration) for start, end in away), "within a gap"
    guarded = [*zone, *most, *issuer, *away]
    for one in plan.silences:
        if not near((one.last, one.end), guarded):
            late = one.end - one.due
            assert id(one) in marked or late <= LIMITS.look_every, one
    assert all(at - one.due <= LIMITS.look_every for at, one in year.marks if not near((one.last, at), guarded))

    counts = by_kind(year.marks)
    assert not {"reboot", "upgrade", "issuer"} & counts.keys(), counts
    assert counts["zone"] == plan.counts["zone"] == 1667, "a zone that is gone is taken out"
    for start, end in most:  # afterwards, when enough are back for the guard to leave, the others follow
        during = sum(start <= at < end for at, one in year.marks if one.kind == "most of a zone")
        assert 0 < during <= (end - start) / LIMITS.slow_every
    single = ("slow reboot", "failed upgrade", "death")
    assert sum(plan.counts[kind] for kind in single) * 0.98 <= sum(counts[kind] for kind in single) <= 1700
