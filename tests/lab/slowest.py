"""The slowest tests of a run, in build/slowest-tests.txt: where the time of CI goes."""

from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "build/slowest-tests.txt"
MOST = 60


class Slowest:
    """Seconds of each test, with its fixtures. In a run of several processes, the first one gets every report."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        found = sorted(self._seconds.items(), key=lambda one: -one[1])[:MOST]
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text("".join(f"{seconds:8.1f} s  {name}\n" for name, seconds in found))
