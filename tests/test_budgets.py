"""What a decision and a request of the privileged helper take, counted: see tests/budgets.py."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from agent.cli import main
from agent.core import policy
from agent.core.facts import AgentFact, Phase, PhaseKind
from agent.host import Host
from tests import budgets
from tests.cli import screens
from tests.core.test_policy import serving
from tests.core.world import SPEC
from tests.lab.netns import namespace

ROOT = Path(__file__).parent.parent
LIBRARIES = ":".join([str(ROOT), *(path for path in sys.path if "site-packages" in path)])
# As the bare interpreter runs them for a unit (runpy is what `-m` loads) or a user; each ends with what is loaded.
PROGRAMS = {
    "fairlead status": "from agent.cli.main import main; assert main(sys.argv[1:]) == 0",
    "fairlead --help": "from agent.cli.main import main; assert main(sys.argv[1:]) == 0",
    "proxyunit.start": "import runpy; from agent.proxyunit import start, at_once",
    "proxyunit.arm": "import runpy; from agent.proxyunit import arm, proof; arm.without_tls(); import http.client",
    "proxyunit.ended": "import runpy; from agent.proxyunit import ended",
}
_LOADED = """
import sys
sys.path[:0] = sys.argv.pop(1).split(":")
{}
print(*filter(sys.modules.get, sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("case", budgets.HELPER_MODULES)
def test_a_request_of_the_privileged_helper(root: None, tmp_path: Path, case: str) -> None:
    """On a host without rules. The first request leaves compiled files for the second."""
    tmp_path.chmod(0o755)
    verb, _, configured = case.partition(", ")
    if configured:
        there = Host(tmp_path).configuration
        there.parent.mkdir(parents=True)
        there.write_text((ROOT / "config/fairlead.toml").read_text())
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
    budgets.HELPER_MODULES[case].check(found["modules"], f"modules of {case!r}")
    budgets.HELPER_OPCODES[case].check(found["opcodes"], f"opcodes of {case!r}")
    budgets.HELPER_PROGRAMS[case].check(found["programs"], f"programs of {case!r}")


def loaded(program: str, *words: str) -> list[str]:
    text = _LOADED.format(PROGRAMS[program])
    done = subprocess.run(
        [sys.executable, "-IS", "-c", text, LIBRARIES, *words],
        capture_output=True,
        text=True,
        env={**os.environ},
        check=True,
    )
    return done.stderr.split()


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name.startswith("proxyunit.")])
def test_a_program_of_the_proxys_unit(program: str) -> None:
    budgets.PROGRAM_MODULES[program].check(len(loaded(program)), f"modules of {program}")


async def test_a_look_at_the_status(tmp_path: Path) -> None:
    """The agent's answer has the form that the client knows: else it loads a library to read it."""
    async with screens.agent(tmp_path, "ready"):
        found = await asyncio.to_thread(loaded, "fairlead status", "status", "--prefix", str(tmp_path))
    assert not {"dataclasses", "http.client", "pathlib", "typing"} & set(found)
    budgets.PROGRAM_MODULES["fairlead status"].check(len(found), "modules of fairlead status")


def test_a_list_of_the_verbs_loads_none_of_them() -> None:
    """So a verb that cannot be loaded hides no other."""
    found = loaded("fairlead --help")
    assert not {f"agent.cli.{module}" for module, _ in main.VERBS.values()} & set(found)
    budgets.PROGRAM_MODULES["fairlead --help"].check(len(found), "modules of fairlead --help")


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
