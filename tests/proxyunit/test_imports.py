"""What the programs load that run between the end of a proxy and the next one, where what is prepared holds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2]
_PROGRAM = """
import runpy, sys
before = set(sys.modules)
import agent.proxyunit.{0}
print(*sorted(set(sys.modules) - before))
"""
OURS = {"agent", "agent.core", "agent.core.prepared", "agent.proxyunit", "agent.proxyunit.prepared"}
# In the interpreter itself, or as small as that.
SMALL = {"collections.abc", "fcntl", "gc", "select", "time"}


@pytest.mark.parametrize("name", ["ended", "arm", "start"])
def test_they_load_nothing_that_takes_longer_than_their_work(name: str) -> None:
    """runpy is what `-m` loads anyway."""
    done = subprocess.run(
        [sys.executable, "-SP", "-c", _PROGRAM.format(name)],
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) - OURS - SMALL == {f"agent.proxyunit.{name}"}
