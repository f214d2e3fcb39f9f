"""Opaque ports: what the annotation says, and where it differs from the configuration."""

from dataclasses import replace

import pytest

from agent.core import opaque
from agent.core.facts import UNKNOWN, Facts, WorkloadFact
from agent.core.reasons import Reason
from agent.core.standing import Spec
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
