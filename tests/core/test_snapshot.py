import dataclasses
import json

import pytest

from agent.core import facts as f
from agent.core import policy, snapshot
from agent.core.goals import Goals
from agent.core.health import Spec
from agent.core.reasons import Fault, Reason
from agent.core.replacement import Replacement, Stage
from tests.core import world
from tests.core.test_policy import decide, serving
from tests.core.world import JUST_NOW, NOW, SPEC, phase


def shot(facts: f.Facts, kind: str = "member") -> dict[str, object]:
    goals = policy.decide(SPEC, phase(kind), facts, NOW).goals
    return snapshot.snapshot(SPEC, phase(kind), facts, goals, NOW)


def test_it_is_json_with_facts_goals_conditions_and_reasons() -> None:
    found = json.loads(json.dumps(shot(serving())))
    assert found["ready"]["status"] == "True" and found["goals"]["advertise"] == "yes"
    assert found["facts"]["identity"]["svid"]["spiffe_id"] == world.ID
    assert found["facts"]["identity"]["expires_at"] == 5000.0, "seconds from now"
    assert [c["status"] for c in found["conditions"]] == ["True"] * 7
    assert [c["reason"] for c in found["conditions"]][-3:] == [
        "AddressesPresent",
        "ProbesPassing",
        "WorkloadMatches",
    ]
    assert found["problems"] == []


def test_an_unknown_fact_says_so() -> None:
    found = shot(f.Facts())
    assert found["facts"] == dict.fromkeys(vars(f.Facts()), "unknown")


def test_each_problem_comes_once_with_its_way_out() -> None:
    facts = serving(proxy=world.proxy("stopped"), lease=f.LeaseFact(fault=Fault(Reason.LEASE_MISSING, "db")))
    found = shot(facts)
    problems = found["problems"]
    assert isinstance(problems, list)
    assert [p["reason"] for p in problems] == ["ProxyStopped", "LeaseMissing"]
    assert problems[1]["remedy"] and problems[1]["detail"] == "db"


def test_ports_that_differ_are_named_and_leave_ready_alone() -> None:
    seen = world.workload("True")
    assert isinstance(seen, f.WorkloadFact) and seen.seen is not None
    spec = Spec(SPEC.identity, SPEC.server_name, SPEC.addresses, (8080, 9090), "boot1")
    goals = decide(serving(), spec)
    problems = snapshot.problems(spec, serving(), NOW)
    assert [p.reason for p in problems] == [Reason.PORTS_MISMATCH]
    assert goals.advertise.value == "yes"


def test_addresses_of_the_host_are_named_unless_they_are_translated() -> None:
    absent = serving(addresses=f.AddressesFact(("10.9.0.2",)))
    (problem,) = snapshot.problems(SPEC, absent, NOW)
    assert problem == Fault(Reason.ADDRESS_ABSENT, "10.9.0.2")
    assert "host.address_translated" in problem.entry.remedy
    translated = dataclasses.replace(SPEC, address_translated=True)
    assert list(snapshot.problems(translated, absent, NOW)) == []
    assert decide(absent, translated).advertise.value == "yes"
    blind = serving(addresses=f.AddressesFact(fault=Fault(Reason.ADDRESSES_UNREADABLE)))
    assert [p.reason for p in snapshot.problems(SPEC, blind, NOW)] == [Reason.ADDRESSES_UNREADABLE]
    assert decide(blind).advertise.value == "hold"


@pytest.mark.parametrize("reason", [Reason.PROXY_STOPPED, Reason.PROXY_IDENTITY_MISSING, Reason.PROXY_CRASHED])
def test_after_leave_what_is_gone_is_as_intended(reason: Reason) -> None:
    proxy = f.ProxyFact(f.ProxyState.STOPPED, fault=Fault(reason, "as it ended"))
    out = serving(proxy=proxy, redirect=world.redirect("off", "off"))
    found = shot(out, "left")
    assert found["problems"] == []
    reasons = {c["type"]: c["reason"] for c in found["conditions"]}  # type: ignore[attr-defined]
    assert (reasons["ProxyReady"], reasons["RedirectActive"]) == ("Left", "Left")
    assert [p["reason"] for p in shot(out)["problems"]] == [reason.value]  # type: ignore[attr-defined]


def test_after_leave_a_unit_that_cannot_be_stopped_is_a_problem_still() -> None:
    proxy = f.ProxyFact(f.ProxyState.STOPPED, fault=Fault(Reason.PROXY_UNIT_FAILED, "no bus"))
    found = shot(serving(proxy=proxy, redirect=world.redirect("off", "off")), "left")
    assert [p["reason"] for p in found["problems"]] == ["ProxyUnitFailed"]  # type: ignore[attr-defined]


def test_a_fault_with_a_remedy_of_its_own_shows_that_one() -> None:
    fault = Fault(Reason.LEASE_MISSING, "db", "make a Lease db")
    found = shot(serving(lease=f.LeaseFact(fault=fault)))
    assert found["problems"][0]["remedy"] == "make a Lease db"  # type: ignore[index]


def test_headlines() -> None:
    def line(facts: f.Facts, kind: str = "member") -> str:
        return str(shot(facts, kind)["headline"])

    assert line(serving()).startswith("Ready: ")
    assert line(serving(probes=world.probes("fail"))).startswith("Not ready: ProbeFailing")
    assert line(serving(proxy=f.UNKNOWN)) == "Starting: not known yet: ProxyReady, ControlPlaneReached"
    assert line(serving(), "left").startswith("Leaving: publishing Ready=False")
    out = serving(proxy=world.proxy("stopped"), redirect=world.redirect("off", "off"))
    assert line(out, "left") == "Left: this host is out of the mesh"
    assert snapshot.headline(SPEC, f.UNKNOWN, serving(), Goals(), NOW).startswith("Unknown")


def test_a_symptom_stays_silent_while_its_cause_is_named() -> None:
    def named(facts: f.Facts) -> list[str]:
        return [fault.reason.value for fault in snapshot.problems(SPEC, facts, NOW)]

    blocked = world.redirect("block", "released")
    assert named(serving(redirect=blocked)) == ["RedirectBlocked"]
    stopped = serving(redirect=blocked, proxy=world.proxy("stopped"))
    assert named(stopped) == ["ProxyStopped"]
    no_identity = serving(redirect=blocked, proxy=world.proxy("stopped"), identity=world.identity("silent"))
    assert named(no_identity) == ["WorkloadApiAbsent"], "the first cause of all"


def test_somebody_who_edits_our_conditions_is_a_problem() -> None:
    fact = world.workload("True")
    assert isinstance(fact, f.WorkloadFact)
    edited = f.WorkloadFact(fact.seen, edited=Fault(Reason.STATUS_EDITED, "Ready"), fell_at=(NOW - 3.0,))
    found = shot(serving(workload=edited))
    assert [p["reason"] for p in found["problems"]] == ["StatusEdited"]  # type: ignore[attr-defined]
    assert found["facts"]["workload"]["fell_at"] == [-3.0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("reason", "ready"),
    [(Reason.FIREWALL_CLOSED, False), (Reason.FIREWALL_UNCLEAR, True), (Reason.CONNECTIONS_UNTRACKED, False)],
)
def test_a_firewall_that_keeps_peers_out_takes_ready_away_where_it_is_certain(reason: Reason, ready: bool) -> None:
    fault = Fault(reason, "inet t input: policy drop", "nft insert rule inet t input tcp dport 4143 accept")
    found = shot(serving(redirect=f.RedirectFact(f.Level.ON, f.Level.ON, firewall=fault)))
    assert str(found["headline"]).startswith("Ready: ") is ready
    problems = found["problems"]
    assert isinstance(problems, list)
    assert [one["remedy"] for one in problems if one["reason"] == reason] == [fault.remedy]


def test_an_edited_configuration_is_a_problem_that_leaves_ready_alone() -> None:
    waiting = f.RedirectFact(f.Level.ON, f.Level.ON, edited=Fault(Reason.REDIRECT_UNAPPROVED, "workload.ports"))
    found = shot(serving(redirect=waiting))
    problems = found["problems"]
    assert isinstance(problems, list)
    problem = problems[0]
    assert (problem["reason"], problem["severity"]) == ("RedirectUnapproved", "warn")
    assert "fairlead redirect apply" in problem["remedy"]
    assert str(found["headline"]).startswith("Ready: ")


def test_a_suspension_is_a_problem_though_what_was_before_is_back_and_serves() -> None:
    held = Fault(Reason.REDIRECT_SUSPENDED, "unconfirmed: on trial for 60 s, and not confirmed")
    found = shot(serving(redirect=f.RedirectFact(f.Level.ON, f.Level.ON, suspended=held)))
    problems = found["problems"]
    assert isinstance(problems, list) and len(problems) == 1
    assert "unconfirmed" in problems[0]["detail"] and "fairlead redirect apply" in problems[0]["remedy"]
    assert str(found["headline"]).startswith("Ready: ")
    assert "True" in {c["status"] for c in found["conditions"] if c["type"] == "RedirectActive"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("stage", "said", "reason"),
    [
        (Stage.LEAVING, "publishing Ready=False", None),
        (Stage.STARTING, "waiting until it is ready", None),
        (Stage.GOING_BACK, "it did not become ready (exit 64)", None),
        (Stage.RESTORING, "starting 2.360.0 again", None),
        (Stage.BACK_AGAIN, "Ready", Reason.PROXY_WENT_BACK),
        (Stage.FAILED, "Ready", Reason.PROXY_REPLACEMENT_FAILED),
        (Stage.DONE, "Ready", None),
    ],
)
def test_a_replacement_of_the_proxy_is_told(stage: Stage, said: str, reason: Reason | None) -> None:
    change = Replacement("2.366.0", "2.360.0", stage, "exit 64", since=JUST_NOW)
    facts = serving(replacement=change)
    goals = policy.decide(SPEC, phase("member"), facts, NOW).goals
    shot = snapshot.snapshot(SPEC, phase("member"), facts, goals, NOW)
    assert said in shot["headline"]
    assert ("by 2.366.0" in shot["headline"]) is not change.over
    assert (goals.reason is Reason.PROXY_REPLACING) is not change.over
    assert [problem["reason"] for problem in shot["problems"]] == ([reason.value] if reason else [])
