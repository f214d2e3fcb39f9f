"""Opaque ports: what the annotation says, and where it differs from the configuration."""

from dataclasses import replace

import pytest

from agent.core import facts as f
from agent.core import opaque, policy
from agent.core.facts import UNKNOWN, Facts, WorkloadFact
from agent.core.failure import Failure
from agent.core.goals import RedirectGoal
from agent.core.health import Spec
from agent.core.levels import redirect_standing
from agent.core.reasons import Fault, Reason
from tests.core import world

SPEC = Spec(world.ID, "db.sni", ("10.9.0.2",), (3306, 8080), "boot1", opaque_ports=(3306,), workload="shop/db-1")


def facts(*ranges: tuple[int, int]) -> Facts:
    fact = world.workload("True")
    assert fact is not UNKNOWN and fact.seen is not None
    seen = fact.seen
    return Facts(workload=WorkloadFact(seen=replace(seen, opaque=ranges)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3306,9999", ((3306, 3306), (9999, 9999))),
        ("3000-4000, 25", ((3000, 4000), (25, 25))),
        ("mysql,http", ((3306, 3306),)),
        ("", ()),
        ("4000-3000,70000,-1,1-,x,٣", ()),
    ],
)
def test_opaque_ports_of_an_annotation(text: str, expected: object) -> None:
    assert opaque.ranges(text, {"mysql": 3306, "": 9090}) == expected, (
        "a port without a name is not named by nothing"
    )


@pytest.mark.parametrize("ranges", [[(3306, 3306)], [(3000, 4000)], [(25, 25), (3306, 3306)]])
def test_opaque_ports_that_agree(ranges: list[tuple[int, int]]) -> None:
    assert opaque.mismatch(SPEC, facts(*ranges)) is None


def test_opaque_ports_that_the_annotation_lacks_come_with_the_command() -> None:
    found = opaque.mismatch(SPEC, facts((25, 26)))
    assert found is not None
    assert found.reason is Reason.OPAQUE_PORTS_MISMATCH
    assert found.way_out == (
        "kubectl annotate externalworkload db-1 -n shop --overwrite config.linkerd.io/opaque-ports=25-26,3306"
    )


def test_opaque_ports_that_the_configuration_lacks_come_with_the_line() -> None:
    found = opaque.mismatch(SPEC, facts((3306, 3306), (8080, 8080)))
    assert found is not None
    assert found.way_out == "set workload.opaque_ports = [3306, 8080]"


def test_opaque_ports_are_not_judged_before_the_workload_was_read() -> None:
    assert opaque.mismatch(SPEC, Facts()) is None
    assert opaque.mismatch(SPEC, Facts(workload=WorkloadFact())) is None


# the first redirect ----------------------------------------------------------------------------------

MEMBER = f.Phase(f.PhaseKind.MEMBER, world.LONG_AGO)
FIRST = replace(SPEC, inbound_failure=Failure.CLOSED_AFTER_READY)


def joining(spec: Spec, facts: Facts, inbound: str | None = "released", once: bool | None = False) -> RedirectGoal:
    """The inbound goal of a host whose proxy is ready."""
    found = replace(
        world.settled(facts),
        identity=world.identity("usable"),
        anchors=world.ANCHORED,
        proxy=world.proxy("ready"),
        redirect=world.redirect(inbound, "released"),
        ready_once=UNKNOWN if once is None else f.ReadyOnceFact(once),
    )
    return policy.decide(spec, MEMBER, found, world.NOW).goals.inbound


def test_opaque_ports_are_redirected_first_once_the_annotation_has_them() -> None:
    assert joining(FIRST, facts()) is RedirectGoal.RELEASED, "the port stays as it was"
    assert joining(replace(FIRST, inbound_failure=Failure.CLOSED), facts()) is RedirectGoal.RELEASED
    assert joining(FIRST, facts((3306, 3306))) is RedirectGoal.ON


@pytest.mark.parametrize("unread", [facts(), Facts()])
def test_opaque_ports_that_are_closed_have_no_clients_to_lose(unread: Facts) -> None:
    """A proxy that died under the policy `closed` gets its redirect back, whatever the API server says."""
    assert joining(replace(FIRST, inbound_failure=Failure.CLOSED), unread, "block") is RedirectGoal.ON


@pytest.mark.parametrize("unread", [Facts(), Facts(workload=WorkloadFact())])
def test_opaque_ports_change_nothing_while_the_annotation_is_unknown(unread: Facts) -> None:
    assert joining(FIRST, unread) is RedirectGoal.HOLD


@pytest.mark.parametrize("unread", [facts(), Facts()])
def test_opaque_ports_change_nothing_while_the_redirect_is_unknown(unread: Facts) -> None:
    assert joining(FIRST, unread, None) is RedirectGoal.HOLD


@pytest.mark.parametrize("unread", [facts(), Facts()])
def test_opaque_ports_that_were_redirected_stay_so_whatever_the_annotation_says(unread: Facts) -> None:
    assert joining(FIRST, unread, "on") is RedirectGoal.ON
    assert joining(FIRST, unread, "released", once=True) is RedirectGoal.ON


def test_opaque_or_not_an_unknown_record_changes_nothing_before_the_annotation() -> None:
    assert joining(FIRST, facts(), once=None) is RedirectGoal.HOLD
    assert joining(replace(FIRST, opaque_ports=()), Facts(), once=None) is RedirectGoal.ON


def test_opaque_ports_that_wait_for_the_annotation_are_named_with_the_command() -> None:
    waiting = replace(facts(), redirect=world.redirect("released", "on"), ready_once=f.ReadyOnceFact(False))
    found = redirect_standing(FIRST, waiting)
    assert isinstance(found, Fault) and found.reason is Reason.REDIRECT_PENDING
    assert (
        found.way_out
        == "kubectl annotate externalworkload db-1 -n shop --overwrite config.linkerd.io/opaque-ports=3306"
    )
