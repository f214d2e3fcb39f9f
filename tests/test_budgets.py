"""What a decision and a request of the privileged helper take, counted: see tests/budgets.py."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from agent.core import policy
from agent.core.facts import AgentFact, Phase, PhaseKind
from tests import budgets
from tests.core.test_policy import serving
from tests.core.world import SPEC
from tests.lab.netns import namespace

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("verb", budgets.HELPER_MODULES)
def test_a_request_of_the_privileged_helper(root: None, tmp_path: Path, verb: str) -> None:
    """On a host without rules and configuration. The first request leaves compiled files for the second."""
    tmp_path.chmod(0o755)
    with namespace() as space:
        python = [sys.executable, "-IS", str(ROOT / "tests/lab/counting.py"), str(ROOT), str(tmp_path)]
        for _ in range(2):
            request = json.dumps({"verb": verb}) + "\n"
            done = subprocess.run(
                space.command(*python),
                input=request,
                capture_output=True,
                text=True,
                env={**os.environ},
                check=False,
            )
            assert json.loads(done.stdout).get("reason") != "HelperRefused", done
    found = json.loads(done.stderr.splitlines()[-1])
    budgets.HELPER_MODULES[verb].check(found["modules"], f"modules of {verb!r}")
    budgets.HELPER_OPCODES[verb].check(found["opcodes"], f"opcodes of {verb!r}")
    budgets.HELPER_PROGRAMS[verb].check(found["programs"], f"programs of {verb!r}")


def test_a_decision() -> None:
    facts, phase = serving(agent=AgentFact(0.0)), Phase(PhaseKind.MEMBER, 0.0)
    policy.decide(SPEC, phase, facts, 10.0)
    opcodes = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal opcodes
        frame.f_trace_opcodes = True
        opcodes += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        policy.decide(SPEC, phase, facts, 10.0)
    finally:
        sys.settrace(before)
    budgets.DECIDE_OPCODES.check(opcodes, "opcodes of a decision")
