"""The agent's metrics: which series there are, and that there are never many of them."""

import dataclasses
import itertools
import re
from typing import Any

import pytest

from agent.core import facts as f
from agent.core import metrics, policy
from agent.core.goals import Goals
from agent.core.reasons import Fault, Reason
from agent.core.slots import Slot
from agent.core.tallies import Tallies
from tests.core import world
from tests.core.test_policy import serving
from tests.core.world import NOW, SPEC, phase

WALL = 1_800_000_000.0
PROBES = tuple(f"probe-{number}" for number in range(5))
Series = tuple[str, tuple[tuple[str, str], ...]]


def seen(facts: f.Facts, tallies: Tallies | None = None, kind: str = "member") -> metrics.Seen:
    goals = policy.decide(SPEC, phase(kind), facts, NOW).goals
    return metrics.Seen(SPEC, phase(kind), facts, goals, tallies or Tallies(), NOW, WALL, "1.0", "2.366.0")


def series(of: metrics.Seen) -> dict[Series, float]:
    return {
        (family.name + sample.suffix, tuple(sorted(sample.labels.items()))): sample.value
        for family in metrics.families(of)
        for sample in family.samples
    }


def named(of: metrics.Seen, name: str) -> dict[str, float]:
    """By their labels' values."""
    return {
        " ".join(value for _, value in labels): found for (one, labels), found in series(of).items() if one == name
    }


def five_probes(**others: Any) -> f.Facts:
    probes = f.ProbesFact(tuple(f.ProbeFact(name, True) for name in PROBES))
    svid = f.IdentityFact(world.SVID, NOW + 3600, updates=3)
    anchors = f.AnchorsFact("0123", expires_at=NOW + 86400 * 300)
    lease = f.LeaseFact("boot1", NOW - 4)
    return dataclasses.replace(serving(probes=probes, identity=svid, anchors=anchors, lease=lease), **others)


def busy() -> Tallies:
    """Everything that can be counted was counted, whatever the API server answers."""
    tallies = Tallies()
    for name in PROBES:
        tallies.probed(name, 0.25)
        tallies.attempts[f"probe {name}", False] += 2
    for verb, code in itertools.product(("GET", "WATCH", "PATCH", "POST"), (None, *range(100, 600))):
        tallies.requested(verb, code)
    tallies.lag.add(0.1)
    return tallies


def test_a_host_with_five_probes_has_few_series() -> None:
    every = [Fault(reason, "x") for reason in Reason]
    bad = five_probes(
        proxy=f.ProxyFact(f.ProxyState.READY, in_flight=1, certificate_expires_at=NOW, fault=every[3]),
        lease=f.LeaseFact("boot1", NOW, Fault(Reason.LEASE_MISSING)),
        configuration=Fault(Reason.CONFIGURATION_REFUSED),
        folders=Fault(Reason.SOCKETS_GONE),
    )
    assert len(series(seen(bad, busy()))) <= metrics.MOST


def test_flaps_and_rotations_make_no_series() -> None:
    """An hour in which a probe changes every second, and a thousand rotations."""
    found: set[Series] = set()
    tallies = busy()
    for number in range(3600):
        rotated = f.IdentityFact(world.SVID, NOW + 3600 + number, updates=number % 1000)
        facts = five_probes(identity=rotated)
        if number % 2:
            facts = dataclasses.replace(facts, probes=f.ProbesFact(tuple(f.ProbeFact(p, False) for p in PROBES)))
        tallies.requested("PATCH", 200)
        found |= series(seen(facts, tallies)).keys()
    assert len(found) <= metrics.MOST


def test_each_series_is_as_declared() -> None:
    for facts in (f.Facts(), five_probes(), five_probes(proxy=world.proxy("stopped"))):
        for family in metrics.families(seen(facts, busy())):
            assert metrics.DECLARED[family.name] is family.declared
            for sample in family.samples:
                assert tuple(sample.labels) == family.declared.labels, family.name


def test_the_names_are_in_base_units() -> None:
    for name, declared in metrics.DECLARED.items():
        assert re.fullmatch(r"fairlead_[a-z_]+", name) and not name.endswith(("_total", "_ms", "_milliseconds"))
        assert declared.kind in ("gauge", "counter", "summary") and declared.help
        assert declared.kind != "summary" or name.endswith("_seconds")


def test_a_host_that_serves() -> None:
    host = seen(five_probes(), busy())
    assert named(host, "fairlead_condition")["Ready True"] == 1
    assert named(host, "fairlead_condition")["Ready False"] == 0
    assert named(host, "fairlead_reason") == {"HostReady": 1}
    assert named(host, "fairlead_svid_expiry_timestamp_seconds") == {"": WALL + 3600}
    assert named(host, "fairlead_lease_age_seconds") == {"": 4}
    assert named(host, "fairlead_redirect_level")["inbound on"] == 1
    assert named(host, "fairlead_phase")["member"] == 1 and named(host, "fairlead_proxy_state")["ready"] == 1
    assert named(host, "fairlead_probe_attempts")["probe-0 passing"] == 2
    assert named(host, "fairlead_probe_duration_seconds_sum")["probe-0"] == 0.25
    assert named(host, "fairlead_api_requests")["other GET"] > 1, "codes that no API server has, in one"
    assert named(host, "fairlead_problem") == {}


@pytest.mark.parametrize("name", ["fairlead_svid_expiry_timestamp_seconds", "fairlead_proxy_restarts"])
def test_what_is_not_known_has_no_series(name: str) -> None:
    assert not named(seen(f.Facts()), name) and named(seen(five_probes()), name)


def test_two_slots_say_which_one_serves() -> None:
    assert not named(seen(five_probes()), "fairlead_proxy_slot")
    redirect = f.RedirectFact(f.Level.ON, f.Level.ON, slot=Slot.STANDBY)
    facts = five_probes(redirect=redirect, standby=world.proxy("ready", flying=3))
    host = dataclasses.replace(seen(facts), spec=dataclasses.replace(SPEC, slots=True))
    assert named(host, "fairlead_proxy_slot") == {"main": 0, "standby": 1}
    assert named(host, "fairlead_standby_state")["ready"] == 1
    assert named(host, "fairlead_standby_in_flight_connections") == {"": 3}


def test_a_problem_is_named_with_its_severity() -> None:
    broken = five_probes(proxy=world.proxy("stopped"))
    assert named(seen(broken), "fairlead_problem") == {"ProxyStopped wait": 1}
    assert named(seen(broken), "fairlead_reason") == {"ProxyStopped": 1}


def test_the_goals_before_the_first_decision_have_a_reason() -> None:
    start = metrics.Seen(SPEC, f.UNKNOWN, f.Facts(), Goals(), Tallies(), NOW, WALL)
    assert named(start, "fairlead_reason") == {"Starting": 1}
