"""Whether an ExternalWorkload describes this host: addresses are values, and every difference is named."""

import dataclasses
import json
from pathlib import Path

import pytest

from agent.adapters.kube import json_values
from agent.core import facts as f
from agent.core import snapshot
from agent.core.goals import Goals
from agent.core.health import Sure
from agent.core.matching import differences
from agent.core.reasons import Fault, Reason
from agent.core.standings import workload_standing
from tests.core import world
from tests.core.test_policy import serving
from tests.core.world import NOW, SPEC

CASE = Path(__file__).parent.parent / "cases" / "workload-address.json"


def seen(**changes: object) -> f.Workload:
    fact = world.workload("True")
    assert isinstance(fact, f.WorkloadFact) and fact.seen is not None
    return dataclasses.replace(fact.seen, **changes)  # type: ignore[arg-type]


def test_cases_workload_address() -> None:
    """The API server keeps an address as it was written."""
    listed = json_values.workload(json.loads(CASE.read_text().splitlines()[0])).addresses
    assert listed == ("2001:DB8::10",)
    spec = dataclasses.replace(SPEC, addresses=("2001:db8::10",))
    assert workload_standing(spec, serving(workload=f.WorkloadFact(seen(addresses=listed)))) is Sure.GOOD


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        ("192.0.2.10", "::ffff:192.0.2.10", True),
        ("2001:db8::10", "2001:0DB8:0:0::10", True),
        ("2001:db8::10", "2001:db8::10%eth0", True),
        ("2001:db8::10", "2001:db8::1:10", False),
        ("192.0.2.10", "192.0.2.1", False),
        ("192.0.2.10", "192.0.2.010", False),
    ],
)
def test_cases_addresses_of_the_workload_are_values(here: str, there: str, same: bool) -> None:
    found = differences(dataclasses.replace(SPEC, addresses=(here,)), seen(addresses=(there,)))
    reasons = [fault.reason for fault in found]
    assert reasons == ([] if same else [Reason.WORKLOAD_ADDRESS_MISMATCH])


def test_every_difference_is_named() -> None:
    other = seen(identity="spiffe://td/web", server_name="web.sni", addresses=("10.9.0.3", "10.9.0.2"))
    facts = serving(workload=f.WorkloadFact(other))
    standing = workload_standing(SPEC, facts)
    assert isinstance(standing, Fault) and standing.reason is Reason.WORKLOAD_IDENTITY_MISMATCH
    for named in ("spiffe://td/web", "web.sni", "10.9.0.3"):
        assert named in standing.detail
    shot = snapshot.snapshot(SPEC, f.Phase(f.PhaseKind.MEMBER), facts, Goals(), NOW)
    problems = {problem["reason"]: problem for problem in shot["problems"]}
    assert {"WorkloadIdentityMismatch", "WorkloadServerNameMismatch", "WorkloadAddressMismatch"} <= problems.keys()
    assert "10.9.0.3" in problems["WorkloadAddressMismatch"]["detail"]
