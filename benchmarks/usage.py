"""CPU, memory and request counts of the processes that a benchmark watches."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.realparts import ApiServer

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Usage:
    """CPU seconds of processes since the last look."""

    pids: Mapping[str, int]
    before: dict[str, float] = field(default_factory=dict)

    def since(self) -> dict[str, float]:
        now = {name: cpu(pid) for name, pid in self.pids.items()}
        found = {name: now[name] - self.before.get(name, now[name]) for name in now}
        self.before = now
        return found


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20


_COUNT = re.compile(r'^apiserver_request_total\{.*resource="(leases|externalworkloads)".*\} (\S+)$', re.MULTILINE)


def requests(server: ApiServer) -> float:
    """For Leases and ExternalWorkloads, since the API server started."""
    return sum(float(count) for _, count in _COUNT.findall(server.text("/metrics")))
