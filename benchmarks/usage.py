"""CPU, memory, traffic and request counts of the processes that a benchmark watches."""

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


def moved(pid: int) -> tuple[int, int]:
    """Bytes that a program in Go has read and written so far, from and to sockets and files."""
    found = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(found["rchar"]), int(found["wchar"])


_COUNT = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)


def requests(server: ApiServer, *labels: str) -> float:
    """For Leases and ExternalWorkloads, since the API server started. `labels`: that they must have, as
    `verb="PATCH"`."""
    found = _COUNT.findall(server.text("/metrics"))
    asked = ('resource="leases"', 'resource="externalworkloads"')
    return sum(
        float(count)
        for named, count in found
        if any(one in named for one in asked) and all(label in named for label in labels)
    )
