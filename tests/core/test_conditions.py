import dataclasses

import pytest

from agent.core import conditions
from agent.core import facts as f
from agent.core.conditions import PREFIX, Word
from agent.core.facts import Condition, Facts, Workload
from agent.core.goals import Advertise, Goals
from agent.core.reasons import REGISTRY, Reason, Severity
from tests.core import world
from tests.core.test_policy import decide, serving
from tests.core.world import LONG_AGO, NOW, SPEC, phase

THEN, TODAY = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
YES = Goals(advertise=Advertise.YES, reason=Reason.HOST_READY)
NO = Goals(advertise=Advertise.NO, reason=Reason.PROBE_FAILING)
READY, UNREADY = Word("Ready", "True", Reason.HOST_READY), Word("Ready", "False", Reason.PROBE_FAILING)


def seen(*entries: Condition) -> Workload:
    return Workload("uid", "1", "id", "sni", conditions=entries)


def said(facts: Facts, kind: str = "member") -> dict[str, tuple[str, str]]:
    goals = decide(facts, kind=f.PhaseKind(kind))
    words = conditions.words(SPEC, phase(kind), facts, goals, NOW)
    return {w.type.removeprefix(PREFIX): (w.status, w.reason.value) for w in words}


ALL_WELL = {
    "Ready": ("True", "HostReady"),
    "IdentityValid": ("True", "IdentityValid"),
    "ProxyReady": ("True", "ProxyReady"),
    "ControlPlaneReached": ("True", "ControlPlaneReached"),
    "RedirectActive": ("True", "RedirectActive"),
    "ProbesPassing": ("True", "ProbesPassing"),
    "Draining": ("False", "NotDraining"),
}
OTHER_PORTS = f.WorkloadFact(Workload("uid", "1", world.ID, "db.sni", ("10.9.0.2",), (9,)))


# what is said -------------------------------------------------------------------------------------


def test_all_well() -> None:
    assert said(serving()) == ALL_WELL
    assert set(conditions.OURS) == {"Ready", *(PREFIX + name for name in ALL_WELL if name != "Ready")}


@pytest.mark.parametrize(
    ("changes", "aspect", "word", "reason"),
    [
        ({"identity": world.identity("unexpected")}, "IdentityValid", "False", "IdentityUnexpected"),
        ({"proxy": world.proxy("expired")}, "ProxyReady", "False", "ProxyCertificateExpired"),
        ({"redirect": world.redirect("block", "on")}, "RedirectActive", "False", "RedirectBlocked"),
        ({"probes": world.probes("fail")}, "ProbesPassing", "False", "ProbeFailing"),
    ],
)
def test_one_aspect_and_ready_fall_together(
    changes: dict[str, object], aspect: str, word: str, reason: str
) -> None:
    assert said(serving(**changes)) == ALL_WELL | {aspect: (word, reason), "Ready": ("False", reason)}


def test_other_ports_stand_on_the_redirect_and_leave_ready_alone() -> None:
    assert said(serving(workload=OTHER_PORTS)) == ALL_WELL | {"RedirectActive": ("True", "PortsMismatch")}


def test_an_agent_that_has_just_started_says_nothing() -> None:
    assert conditions.words(SPEC, f.UNKNOWN, Facts(), Goals(), NOW) == ()
    assert "ProbesPassing" not in said(serving(probes=world.probes(None)))


def test_what_stays_unknown_is_said_when_the_window_is_over() -> None:
    late = serving(proxy=f.UNKNOWN, agent=f.AgentFact(LONG_AGO))
    unknown = dict.fromkeys(("ProxyReady", "ControlPlaneReached"), ("Unknown", "Starting"))
    assert said(late) == ALL_WELL | unknown | {"Ready": ("False", "Starting")}


def test_a_host_that_has_left_is_no_broken_one() -> None:
    gone = serving(proxy=world.proxy("stopped"), redirect=world.redirect("off", "off"))
    out = dict.fromkeys(("Ready", "ProxyReady", "ControlPlaneReached", "RedirectActive"), ("False", "Left"))
    assert said(gone, "left") == ALL_WELL | out | {"Draining": ("True", "Left")}
    ends = said(serving(proxy=world.proxy("stopping")), "shutting-down")
    assert ends["ProxyReady"] == ("False", Reason.SHUTTING_DOWN.value) == ends["Ready"]
    assert said(serving(), "drained") == ALL_WELL | dict.fromkeys(["Ready"], ("False", "Draining")) | {
        "Draining": ("True", "Draining")
    }


def test_no_message_holds_anything_volatile() -> None:
    """What a condition says is a function of its reason; a good one has no way out."""
    for reason, entry in REGISTRY.items():
        text = conditions.message(reason)
        assert text == conditions.message(reason) and text.startswith(entry.text)
        assert (entry.severity is Severity.OK) <= (text == entry.text)


# what is written ----------------------------------------------------------------------------------


def test_the_first_write() -> None:
    (ready,) = conditions.written(seen(), [READY], TODAY)
    assert (ready.type, ready.status, ready.reason, ready.last_transition_time) == (
        "Ready",
        "True",
        "HostReady",
        TODAY,
    )


@pytest.mark.parametrize("word", [READY, UNREADY])
def test_the_same_again_differs_in_nothing(word: Word) -> None:
    there = seen(*conditions.written(seen(), [word], THEN))
    assert conditions.differing(there, [word]) == () and not conditions.flips(there, [word])
    assert conditions.written(there, [word], TODAY) == there.conditions


def test_the_transition_time_moves_only_when_the_status_flips() -> None:
    before = seen(*conditions.written(seen(), [UNREADY], THEN))
    other = dataclasses.replace(UNREADY, reason=Reason.PROXY_STOPPED)
    assert conditions.differing(before, [other]) and not conditions.flips(before, [other])
    assert conditions.written(before, [other], TODAY)[0].last_transition_time == THEN
    assert conditions.flips(before, [READY])
    assert conditions.written(before, [READY], TODAY)[0].last_transition_time == TODAY


def test_a_probe_time_that_somebody_wrote_goes_with_the_first_flip() -> None:
    before = seen(Condition("Ready", "False", "ByHand", "", THEN, THEN))
    assert conditions.written(before, [UNREADY], TODAY)[0].last_probe_time == THEN
    assert conditions.written(before, [READY], TODAY)[0].last_probe_time == ""


def test_several_ready_entries_become_one_in_the_place_of_the_first() -> None:
    """linkerd-destination takes any True among them for ready."""
    a, b = Condition("a.example/A", "True"), Condition("b.example/B", "False")
    mess = seen(a, Condition("Ready", "False", "X"), b, Condition("Ready", "True", "Y"))
    assert mess.ready == "True" and conditions.flips(mess, [UNREADY])
    draining = Word(conditions.DRAINING, "False", Reason.NOT_DRAINING)
    written = conditions.written(mess, [UNREADY, draining], TODAY)
    assert [c.type for c in written] == ["a.example/A", "Ready", "b.example/B", conditions.DRAINING]
    assert written[0] is a and written[2] is b


def test_a_condition_without_a_word_is_left_as_it_stands() -> None:
    there = seen(*conditions.written(seen(), [READY], THEN))
    draining = Word(conditions.DRAINING, "True", Reason.DRAINING)
    assert conditions.written(there, [draining], TODAY)[0] == there.conditions[0]


# what was said ------------------------------------------------------------------------------------


def test_told_compares_what_the_mesh_reads() -> None:
    assert conditions.told(Facts(workload=world.workload("True")), YES)
    assert not conditions.told(Facts(workload=world.workload("False")), YES)
    assert conditions.told(Facts(workload=world.workload("False")), NO)
    assert not conditions.told(Facts(), NO)
    assert not conditions.told(Facts(workload=world.workload("True")), Goals())


def test_the_boot_is_vouched_for_once_told() -> None:
    told = Facts(workload=world.workload("False"), lease=world.lease(2))
    assert conditions.vouched_boot(SPEC, told, NO) == "boot1"
    assert conditions.vouched_boot(SPEC, told, YES) is None
    again = dataclasses.replace(told, lease=world.lease(1))
    assert conditions.vouched_boot(SPEC, again, YES) == "boot1"
