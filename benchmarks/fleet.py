"""Prints what a fleet costs at rest, and how fast the watcher notices deaths.

    python -m benchmarks.fleet [HOSTS...]      (with the real API server built: make test)

On a real kube-apiserver with its etcd: heartbeats alone, on as many connections as they need, and `fairlead
watcher` as a process with its defaults. CPU is that of the processes, so another load of the machine does not
count; what the servers use without a fleet is subtracted.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from benchmarks.hosts import Hosts
from tests.lab.realparts import ApiServer
from tests.watcher.watching import kubeconfig

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
GRACE = 40.0
# A fleet of this size renews every 10 s, and is killed in part; a larger one renews every 60 s.
SMALL = 1000


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


class Marks:
    """What the watcher's log says it marked."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def since(self, began: float) -> dict[str, float]:
        """By host, in seconds since the epoch."""
        lines = (json.loads(line) for line in self._log.read_text().splitlines() if line.endswith("}"))
        return {
            line["host"].partition("/")[2]: time_of(line["timestamp"])
            for line in lines
            if line["event"] == "marked a silent host" and time_of(line["timestamp"]) >= began
        }


def time_of(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


@contextmanager
def watcher(config: Path, namespace: str) -> Iterator[tuple[int, Marks]]:
    log = config.with_name("watcher.log")
    argv = [sys.executable, "-m", "agent", "watcher", "--kubeconfig", str(config), "--log=json"]
    argv += ["--listen=127.0.0.1:0", f"--lease-namespace={namespace}", "--namespace", namespace]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stderr=output, env={**os.environ})
    try:
        yield process.pid, Marks(log)
    finally:
        process.terminate()
        process.wait(10)


async def measure(server: ApiServer, folder: Path, count: int) -> None:
    period = 10.0 if count <= SMALL else 60.0
    hosts = Hosts(server, count, period)
    began = time.monotonic()
    await hosts.enrol()
    took = time.monotonic() - began
    print(f"\n{count} hosts, a renewal every {period:g} s; enrolled in {took:.0f} s", flush=True)
    idle = await used_in(server, 30)
    async with hosts.renewing():
        await at_rest(server, hosts, idle)
        with watcher(kubeconfig(server, folder / "config"), hosts.namespace) as (pid, marks):
            await watched(server, hosts, pid, marks)
            if count <= SMALL:
                await deaths(hosts, marks)
    await hosts.close()


async def used_in(server: ApiServer, seconds: float) -> dict[str, float]:
    """CPU seconds a second, by process."""
    usage = Usage(server.pids)
    usage.since()
    await asyncio.sleep(seconds)
    return {name: used / seconds for name, used in usage.since().items()}


async def at_rest(server: ApiServer, hosts: Hosts, idle: Mapping[str, float], seconds: float = 60.0) -> None:
    renewed = hosts.renewals
    used = await used_in(server, seconds)
    rate = (hosts.renewals - renewed) / seconds
    each = ", ".join(f"{name} {1000 * (used[name] - idle[name]) / rate:.2f} ms" for name in used)
    sizes = ", ".join(f"{name} {resident(pid):.0f} MiB" for name, pid in server.pids.items())
    print(f"  {rate:.0f} renewals/s, {hosts.late} late; CPU a renewal: {each}; {sizes}", flush=True)


async def watched(server: ApiServer, hosts: Hosts, pid: int, marks: Marks, seconds: float = 120.0) -> None:
    usage = Usage({**server.pids, "watcher": pid})
    await asyncio.sleep(30)
    usage.since()
    await asyncio.sleep(seconds)
    used = usage.since()
    print(
        f"  with a watcher: {100 * used['watcher'] / seconds:.1f} % of a core, {resident(pid):.0f} MiB,"
        f" {len(marks.since(0))} marks",
        flush=True,
    )


async def deaths(hosts: Hosts, marks: Marks) -> None:
    third, names = [name for name in hosts.names if hosts.zone(name) == "a"], hosts.names
    most = [name for number, name in enumerate(names) if number % 10 < 6]
    for what, dead in (
        ("1 host", names[:1]),
        ("10 % of all", names[::10]),
        ("a zone", third),
        ("60 % of each zone", most),
        ("all", names),
    ):
        await _die(hosts, marks, what, dead)


async def _die(hosts: Hosts, marks: Marks, what: str, dead: Sequence[str]) -> None:
    began = time.time()
    hosts.dead = set(dead)
    await asyncio.sleep(GRACE + hosts.period + 30)
    found = marks.since(began)
    after = sorted(found[name] - hosts.renewed_at[name] for name in dead if name in found)
    wrong = found.keys() - hosts.dead
    spread = f"median {statistics.median(after):.1f} s, most {after[-1]:.1f} s" if after else "none"
    print(f"  {what}: {len(after)} of {len(dead)} marked, after their last renewal {spread}; {len(wrong)} others")
    sys.stdout.flush()
    hosts.dead = set()
    await asyncio.sleep(hosts.period + 5)
    await hosts.give_back(list(dead))


def main() -> None:
    counts = [int(text) for text in sys.argv[1:]] or [1000, 5000]
    for count in counts:
        with ApiServer() as server, tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(server, Path(folder), count))


if __name__ == "__main__":
    main()
