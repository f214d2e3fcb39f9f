"""What the proxy's metrics say of the control plane, and what follows from it."""

import dataclasses

import pytest

from agent.core import control_plane
from agent.core import facts as f
from agent.core.facts import UNKNOWN, Control, ControlPlaneFact, Counters, Level, Maybe
from agent.core.goals import Advertise, ProxyGoal, RedirectGoal
from agent.core.health import Sure
from agent.core.levels import redirect_standing
from agent.core.reasons import Fault, Reason
from agent.core.snapshot import problems
from tests.core import world
from tests.core.test_policy import decide, serving
from tests.core.world import NOW, SPEC

ADDRESS = "linkerd-policy.linkerd.svc.cluster.local.:8090"
# As a proxy of 2.366 writes it: the label `addr` has no dot at the end.
LABELS = (
    'addr="linkerd-policy.linkerd.svc.cluster.local:8090",tls="true",'
    'server_id="linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"'
)
OTHER = 'addr="linkerd-dst-headless.linkerd.svc.cluster.local:8086",tls="true",server_id="x"'
DNS = "control_dns_resolutions_total"


def read(*lines: str) -> Counters:
    found = control_plane.read_metrics("\n".join([*lines, "# EOF", ""]), ADDRESS)
    assert isinstance(found, Counters)
    return found


def test_an_answer_is_the_first_frame_of_a_response() -> None:
    counted = read(
        f"control_request_total{{{LABELS}}} 2",
        f'control_response_latency_ms_bucket{{{LABELS},status_code="200",le="1"}} 0',
        f'control_response_latency_ms_count{{{LABELS},status_code="200"}} 1',
        f'control_response_latency_ms_count{{{OTHER},status_code="200"}} 7',
    )
    assert counted == Counters(answers=1) and control_plane.answered(counted)


def test_a_request_or_another_controllers_answer_is_none() -> None:
    for line in (
        f"control_request_total{{{LABELS}}} 9",
        f'control_response_latency_ms_count{{{OTHER},status_code="200"}} 7',
        f'control_response_latency_ms_count{{{LABELS},status_code="503"}} 7',
        f'control_response_total{{{LABELS},classification="failure",grpc_status="",error="unclassified"}} 3',
    ):
        assert not control_plane.answered(read(line)), line


@pytest.mark.parametrize(("code", "proof"), [("5", False), ("7", False), ("16", False), ("0", True), ("14", True)])
def test_a_refusal_is_no_answer_and_the_end_of_a_stream_takes_none_away(code: str, proof: bool) -> None:
    ended = f'classification="failure",grpc_status="{code}",error=""'
    counted = read(
        f'control_response_latency_ms_count{{{LABELS},status_code="200"}} 1',
        f'control_response_total{{{LABELS},status_code="200",{ended}}} 1',
    )
    assert control_plane.answered(counted) is proof


def test_a_stream_that_breaks_takes_no_answer_away() -> None:
    counted = read(
        f'control_response_latency_ms_count{{{LABELS},status_code="200"}} 1',
        f'control_response_total{{{LABELS},status_code="200",grpc_status="",error=""}} 1',
    )
    assert counted == Counters(answers=1)


def test_look_ups_of_its_name() -> None:
    counted = read(
        f'{DNS}{{client="policy",record_type="SRV",result="not_found"}} 4',
        f'{DNS}{{client="policy",record_type="A/AAAA",result="not_found"}} 3',
        f'{DNS}{{client="policy",record_type="A/AAAA",result="ok"}} 0',
        f'{DNS}{{client="destination",record_type="A/AAAA",result="ok"}} 8',
    )
    assert counted == Counters(missed=3)
    assert control_plane.after(None, counted).unresolved


def test_half_a_text_says_nothing() -> None:
    text = f'control_response_latency_ms_count{{{LABELS},status_code="200"}} 1\n'
    assert control_plane.read_metrics(text, ADDRESS) is UNKNOWN


def test_an_answer_is_never_taken_back_and_a_loss_is_noticed() -> None:
    met = control_plane.after(None, Counters(failures=2))
    assert met == Control(answered=False)
    met = control_plane.after(met, Counters(answers=1, failures=2))
    assert met == Control(answered=True)
    met = control_plane.after(met, Counters(answers=1, failures=3))
    assert met == Control(answered=True, lost=True)
    assert control_plane.after(met, Counters(answers=1, failures=3)).lost, "until something else is seen"
    assert control_plane.after(met, Counters(answers=2, failures=3)) == Control(answered=True)
    assert control_plane.after(met, Counters(answers=1, refusals=1, failures=3)).answered


# what follows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proved", "failed", "level"),
    [
        (True, Level.BLOCK, Level.ON),
        (False, Level.BLOCK, Level.BLOCK),
        (False, Level.RELEASED, Level.RELEASED),
        (False, UNKNOWN, UNKNOWN),
        (UNKNOWN, Level.RELEASED, UNKNOWN),
    ],
)
def test_the_outbound_level(proved: Maybe[bool], failed: Maybe[Level], level: Maybe[Level]) -> None:
    assert control_plane.outbound(proved, failed) is level


def proxy(control: Control | None) -> f.ProxyFact:
    found = world.proxy("ready")
    assert isinstance(found, f.ProxyFact)
    return dataclasses.replace(found, control=control)


UNREACHABLE = Fault(Reason.CONTROL_PLANE_UNREACHABLE, "policy:8090 at 10.0.0.1: Connection refused")
RELEASED_OUT = world.redirect("on", "released")


def test_ready_and_outbound_wait_for_the_first_answer() -> None:
    facts = serving(proxy=proxy(Control(False)), redirect=RELEASED_OUT)
    goals = decide(facts)
    assert (goals.advertise, goals.reason) == (Advertise.NO, Reason.CONTROL_PLANE_PENDING)
    assert (goals.proxy, goals.inbound, goals.outbound) == (
        ProxyGoal.RUNNING,
        RedirectGoal.ON,
        RedirectGoal.RELEASED,
    )
    assert redirect_standing(SPEC, facts) is Sure.GOOD, "it is as intended"
    unknown = decide(serving(proxy=proxy(None)))
    assert (unknown.advertise, unknown.outbound) == (Advertise.HOLD, RedirectGoal.HOLD)


def test_where_nothing_is_let_in_before_it_ready_does_not_wait() -> None:
    spec = dataclasses.replace(SPEC, policy_awaited=False)
    goals = decide(serving(proxy=proxy(Control(False)), redirect=RELEASED_OUT), spec)
    assert (goals.advertise, goals.outbound) == (Advertise.YES, RedirectGoal.RELEASED)


def test_where_nothing_goes_out_outbound_waits_for_nothing() -> None:
    spec = dataclasses.replace(SPEC, outbound=False)
    for control in (None, Control(False), Control(True)):
        assert decide(serving(proxy=proxy(control)), spec).outbound is RedirectGoal.RELEASED


@pytest.mark.parametrize(
    ("control", "look", "reason"),
    [
        (Control(False), UNKNOWN, Reason.CONTROL_PLANE_PENDING),
        (Control(False, unresolved=True), UNKNOWN, Reason.CONTROL_PLANE_UNRESOLVED),
        (Control(False), ControlPlaneFact(), Reason.CONTROL_PLANE_PENDING),
        (Control(False), ControlPlaneFact(UNREACHABLE), Reason.CONTROL_PLANE_UNREACHABLE),
    ],
)
def test_why_it_is_not_reached(control: Control, look: Maybe[ControlPlaneFact], reason: Reason) -> None:
    found = control_plane.standing(serving(proxy=proxy(control), control_plane=look))
    assert isinstance(found, Fault) and found.reason is reason


def test_a_refusal_is_said() -> None:
    found = control_plane.standing(serving(proxy=proxy(Control(False, counters=Counters(1, 1)))))
    assert found == Fault(Reason.CONTROL_PLANE_PENDING, "it refuses what the proxy asks")


def test_a_later_loss_and_the_destination_are_warnings() -> None:
    look = ControlPlaneFact(UNREACHABLE, UNREACHABLE)
    facts = serving(proxy=proxy(Control(True, lost=True)), control_plane=look)
    goals = decide(facts)
    assert (goals.advertise, goals.outbound) == (Advertise.YES, RedirectGoal.ON)
    assert [fault.reason for fault in problems(SPEC, facts, NOW)] == [
        Reason.CONTROL_PLANE_LOST,
        Reason.DESTINATION_UNREACHABLE,
    ]


def test_without_a_proxy_the_control_plane_is_no_problem_of_its_own() -> None:
    facts = serving(proxy=world.proxy("stopped"))
    assert [fault.reason for fault in problems(SPEC, facts, NOW)] == [Reason.PROXY_STOPPED]
