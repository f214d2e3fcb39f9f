"""Each bad day in a process and namespaces of its own; a few at a time, for they mostly wait."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.host.bad_days import DAYS

ROOT = Path(__file__).parents[2]
AT_ONCE = 3
LONGEST = 180  # seconds of one day, set-up and clean-up included

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def lived(request: pytest.FixtureRequest, root: None) -> Iterator[dict[str, Future[Done]]]:
    """Every day that this run asks for, started ahead of the test that looks at it."""
    asked = [item.callspec.params["name"] for item in request.session.items if item.path == Path(__file__)]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(_live, name) for name in asked}
        pool.shutdown(cancel_futures=True)


def _live(name: str) -> Done:
    command = [sys.executable, "-m", "tests.host.inside", name]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST, env={**os.environ})


@pytest.mark.parametrize("name", DAYS)
def test_bad_day(lived: dict[str, Future[Done]], name: str) -> None:
    done = lived[name].result()
    assert done.returncode == 0, done.stderr[-6000:]
