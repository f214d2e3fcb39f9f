"""Each fault scenario in a process and namespaces of its own. Run by several workers, each runs one at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.scenarios import SCENARIOS
from tests.lab import reached_reasons

ROOT = Path(__file__).parents[2]
LONGEST = 240  # seconds of one scenario, set-up and clean-up included


@pytest.mark.parametrize("name", SCENARIOS)
def test_fault_scenario(root: None, name: str) -> None:
    command = [sys.executable, "-m", "tests.host.run_scenario", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST, env={**os.environ})
    assert done.returncode == 0, done.stderr[-6000:]
    reached_reasons.told_by(done.stdout)
