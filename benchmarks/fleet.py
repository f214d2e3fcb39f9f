"""Prints what a fleet costs at rest, and how fast the watcher notices deaths.

    python -m benchmarks.fleet [--part PART] [HOSTS...]      (with the real API server built: make test)

On a real kube-apiserver with its etcd. CPU is that of the processes, so another load of the machine does not
count; what the servers use without a fleet is subtracted. The parts:

    heartbeats   heartbeats alone, on as many connections as they need, and `fairlead watcher` as a process with
                 its defaults (1,000 and 5,000 hosts)
    deaths       1 host, 10 %, a zone, 60 % and all fall silent; when the watcher marks which (1,000)
    agents       the agents' own loops with the real API adapters, and the API server restarted under them (200)
    flood        heartbeats while a tenant lists without end, without and with config/cluster/heartbeats.yaml (200)
    bindings     a renewal where RBAC has a binding for each host, and one for all (10, 500, 5,000)
    handover     the leading replica of the watcher is killed (5 times)
    model        what larger fleets cost, by the figures above (1,000 to 50,000 hosts); no server is started
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks import fleet_agents, fleet_bindings, fleet_flood, fleet_handover, fleet_model
from benchmarks.hosts import Hosts
from benchmarks.usage import Usage, moved, requests, resident
from tests.lab.realparts import ApiServer
from tests.watcher.watching import kubeconfig

GRACE = 40.0
# A fleet of this size renews every 10 s; a larger one every 60 s, for the machine that measures it.
SMALL = 1000


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


async def rest(count: int, seconds: float) -> None:
    with ApiServer() as server, tempfile.TemporaryDirectory() as folder:
        hosts = await enrolled(server, count)
        idle = await used_in(server.pids, seconds / 2)
        async with hosts.renewing():
            used = await at_rest(server, hosts, idle, seconds)
            with watcher(kubeconfig(server, Path(folder) / "config"), hosts.namespace) as (pid, marks):
                await watched(server, used, pid, marks, 2 * seconds)
        await hosts.close()


async def killed(count: int, seconds: float) -> None:
    """`seconds` is not used: a death takes as long as a Lease."""
    with ApiServer() as server, tempfile.TemporaryDirectory() as folder:
        hosts = await enrolled(server, count)
        async with hosts.renewing():
            with watcher(kubeconfig(server, Path(folder) / "config"), hosts.namespace) as (_, marks):
                await asyncio.sleep(30)
                await deaths(hosts, marks)
        await hosts.close()


async def enrolled(server: ApiServer, count: int) -> Hosts:
    hosts = Hosts(server, count, 10.0 if count <= SMALL else 60.0)
    began = time.monotonic()
    await hosts.enrol()
    took = time.monotonic() - began
    print(f"\n{count} hosts, a renewal every {hosts.period:g} s; enrolled in {took:.0f} s", flush=True)
    return hosts


@dataclass(frozen=True)
class Used:
    """Of a process, in a second: cores, and bytes that it read and wrote."""

    cores: float
    read: float
    written: float


async def used_in(pids: Mapping[str, int], seconds: float) -> dict[str, Used]:
    """By process."""
    usage, before = Usage(pids), {name: moved(pid) for name, pid in pids.items()}
    usage.since()
    await asyncio.sleep(seconds)
    found = {}
    for name, used in usage.since().items():
        read, written = (now - then for now, then in zip(moved(pids[name]), before[name], strict=True))
        found[name] = Used(used / seconds, read / seconds, written / seconds)
    return found


async def at_rest(server: ApiServer, hosts: Hosts, idle: Mapping[str, Used], seconds: float) -> dict[str, Used]:
    renewed, asked = hosts.renewals, requests(server)
    used = await used_in(server.pids, seconds)
    rate, all_requests = (hosts.renewals - renewed) / seconds, (requests(server) - asked) / seconds
    print(f"  {rate:.0f} renewals/s of {all_requests:.0f} requests/s, {hosts.late} late", flush=True)
    for name, one in used.items():
        print(
            f"  {name}, for a renewal: CPU {1000 * (one.cores - idle[name].cores) / rate:.2f} ms,"
            f" read {(one.read - idle[name].read) / rate / 1000:.1f} kB,"
            f" written {(one.written - idle[name].written) / rate / 1000:.1f} kB;"
            f" {resident(server.pids[name]):.0f} MiB",
            flush=True,
        )
    return used


async def watched(server: ApiServer, rest: Mapping[str, Used], pid: int, marks: Marks, seconds: float) -> None:
    """`rest`: what the servers use without it."""
    await asyncio.sleep(min(30.0, seconds))
    writes = requests(server, 'verb="PATCH"', 'resource="externalworkloads"')
    used = await used_in({**server.pids, "watcher": pid}, seconds)
    writes = requests(server, 'verb="PATCH"', 'resource="externalworkloads"') - writes
    print(
        f"  with a watcher: {100 * used['watcher'].cores:.1f} % of a core, {resident(pid):.0f} MiB,"
        f" {len(marks.since(0))} marks, {writes:.0f} writes of ExternalWorkloads",
        flush=True,
    )
    for name, before in rest.items():
        print(
            f"  {name}, for the watcher: {100 * (used[name].cores - before.cores):.1f} % of a core,"
            f" written {(used[name].written - before.written) / 1e6:.2f} MB/s",
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


@dataclass(frozen=True)
class Part:
    """`counts`: hosts of each run, unless the command line says others."""

    run: Callable[[int, float], Coroutine[None, None, None]]
    counts: tuple[int, ...]


PARTS = {
    "heartbeats": Part(rest, (1000, 5000)),
    "deaths": Part(killed, (1000,)),
    "agents": Part(fleet_agents.measure, (200,)),
    "flood": Part(fleet_flood.measure, (200,)),
    "bindings": Part(fleet_bindings.measure, (10, 500, 5000)),
    "handover": Part(fleet_handover.measure, (5,)),
    "model": Part(fleet_model.show, (1000, 2000, 5000, 10_000, 20_000, 50_000)),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.fleet")
    parser.add_argument("--part", choices=PARTS, action="append", help="may be repeated (default: all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement (default: 60)")
    parser.add_argument("hosts", type=int, nargs="*", metavar="HOSTS")
    asked = parser.parse_args()
    for part in asked.part or PARTS:
        for count in asked.hosts or PARTS[part].counts:
            asyncio.run(PARTS[part].run(count, asked.seconds))


if __name__ == "__main__":
    main()
