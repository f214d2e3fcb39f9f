"""The promise of `fairlead status --json`: keys are added, none goes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.core import facts as f
from agent.core import policy, snapshot
from agent.core.attempts import LastAttempt
from agent.core.reasons import Fault, Reason
from agent.core.replacement import Replacement
from tests.core import world
from tests.core.test_policy import serving
from tests.core.world import NOW, SPEC, phase
from tests.docs import status_schema


def test_nothing_goes_under_the_same_number() -> None:
    promised = set(status_schema.RECORD.read_text().splitlines())
    missing = promised - set(status_schema.record().splitlines())
    assert not missing, "give agent.core.snapshot.SCHEMA another number"


def paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from paths(one, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for one in value:
            yield from paths(one, f"{path}[]")
    else:
        yield path


STOPPED = serving(
    proxy=world.proxy("stopped"),
    replacement=Replacement("2.1", "2.0"),
    lease=f.LeaseFact(fault=Fault(Reason.LEASE_MISSING, "none")),
)


@pytest.mark.parametrize("facts", [f.Facts(), serving(), STOPPED], ids=["new", "serving", "stopped"])
def test_what_is_shown_is_documented(facts: f.Facts) -> None:
    goals = policy.decide(SPEC, phase("member"), facts, NOW).goals
    shown = snapshot.snapshot(SPEC, phase("member"), facts, goals, NOW)
    shown["attempts"] = snapshot.attempts({"NAME": LastAttempt(NOW)}, NOW)
    documented = {path for path, _, _ in status_schema.rows()}
    assert set(paths(json.loads(json.dumps(shown)))) - documented <= {"conditions", "problems"}
