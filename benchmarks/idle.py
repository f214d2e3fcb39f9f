"""What the agent costs while nothing happens, how soon it is READY, and what one request of the privileged helper
takes. python -m benchmarks.idle [SECONDS] (root)

In the sandbox: the real agent as a process, with an HTTP probe every 10 s; API server, Workload API and proxy are
embedded. Wake-ups are context switches, as the kernel counts them for every thread of the agent; those that a busy
machine forces upon it are counted apart. The interpreter is the one that runs this, with the libraries of a
checkout: a package has fewer.
"""

import asyncio
import os
import re
import resource
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.sandbox.stage import namespaces
from agent.sandbox.stage.scene import Options, Scene
from agent.sandbox.stage.tour import is_ready, until

SECONDS: Final = 60.0  # of rest that are measured
SETTLED: Final = 20.0  # seconds from Ready on that are not
STARTS, REQUESTS = 5, 10
TICKS: Final = os.sysconf("SC_CLK_TCK")
LARGEST: Final = 8  # mappings that are named


@dataclass(frozen=True)
class Spent:
    """`own`, `programs`: seconds of processor, of the agent and of what it started and has ended."""

    own: float
    programs: float
    wakeups: int
    preempted: int
    threads: int


def spent(pid: int) -> Spent:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, of_users, of_system = (int(field) / TICKS for field in fields[11:15])
    threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    own, forced = (_switches(threads, kind) for kind in ("voluntary", "nonvoluntary"))
    return Spent(user + system, of_users + of_system, own, forced, len(threads))


def _switches(statuses: Iterable[str], kind: str) -> int:
    pattern = rf"^{kind}_ctxt_switches:\s+(\d+)"
    return sum(int(one) for text in statuses for one in re.findall(pattern, text, re.MULTILINE))


def memory(pid: int) -> tuple[Mapping[str, int], Counter[str]]:
    return mappings(Path(f"/proc/{pid}/smaps").read_text())


def mappings(smaps: str) -> tuple[Mapping[str, int], Counter[str]]:
    """KiB: Rss, Pss and private of the process, and Pss by the file that is mapped."""
    total: Counter[str] = Counter()
    by_mapping: Counter[str] = Counter()
    name = ""
    for line in smaps.splitlines():
        if match := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)", line):
            name = Path(match[1]).name if match[1].startswith("/") else match[1] or "anonymous"
        elif match := re.match(r"(Rss|Pss|Private_Clean|Private_Dirty):\s+(\d+) kB", line):
            total[match[1].partition("_")[0]] += int(match[2])
            by_mapping[name] += int(match[2]) if match[1] == "Pss" else 0
    return total, by_mapping


async def ready_after(scene: Scene, notices: socket.socket, path: Path) -> tuple[float, float]:
    """Seconds from the start of the process to READY=1, and those of processor, of the agent alone."""
    began = time.monotonic()
    await scene.start_agent("env", f"NOTIFY_SOCKET={path}")
    while b"READY=1" not in await asyncio.get_running_loop().sock_recv(notices, 4096):
        pass
    assert scene.agent is not None
    return time.monotonic() - began, spent(scene.agent.pid).own


async def request(scene: Scene) -> tuple[float, float]:
    """Seconds for one `redirect check`, and those of processor, with the start of the program and what it runs."""
    began, before = time.monotonic(), _of_children()
    helper = (sys.executable, "-IS", "-c", _HELPER, str(Path.cwd()), str(scene.prefix))
    code, said = await scene.run_on_host(
        "sh", "-c", 'echo \'{"verb": "redirect check"}\' | exec "$@"', "sh", *helper
    )
    assert code == 0, said
    return time.monotonic() - began, _of_children() - before


def _of_children() -> float:
    """Seconds of processor that those took that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


_HELPER: Final = (
    "import sys, runpy; sys.path.insert(0, sys.argv[1]); sys.argv = ['', '--prefix', sys.argv[2]]; "
    "runpy.run_module('agent.privileged.helper', run_name='__main__')"
)


async def measure(scene: Scene, seconds: float) -> None:
    path = scene.base / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(path))
        notices.setblocking(False)
        await scene.start_app()
        starts = []
        for _ in range(STARTS):
            starts.append(await ready_after(scene, notices, path))
            await until(scene, lambda status: is_ready(status), "Ready")
            if len(starts) < STARTS:
                await scene.end_agent()
        assert scene.agent is not None
        pid = scene.agent.pid
        await asyncio.sleep(SETTLED)
        before = spent(pid)
        await asyncio.sleep(seconds)
        after = spent(pid)
    print(f"READY after {spread(starts)}")
    print(f"at rest for {seconds:g} s, {after.threads} threads:")
    print(f"  processor: {(after.own - before.own) / seconds:.2%} of a core, programs that it started: ", end="")
    print(f"{(after.programs - before.programs) / seconds:.2%}")
    print(f"  wake-ups: {(after.wakeups - before.wakeups) / seconds:.1f} a second, and preempted ", end="")
    print(f"{(after.preempted - before.preempted) / seconds:.1f} times")
    total, by_mapping = memory(pid)
    print("  memory: " + ", ".join(f"{name} {total[key] / 1024:.1f} MiB" for name, key in KINDS))
    for name, size in by_mapping.most_common(LARGEST):
        print(f"    {size / 1024:6.1f} MiB  {name}")
    print(f"redirect check: {spread([await request(scene) for _ in range(REQUESTS)])}")


KINDS: Final = (("RSS", "Rss"), ("PSS", "Pss"), ("USS", "Private"))


def spread(found: list[tuple[float, float]]) -> str:
    times, used = ([one[at] for one in found] for at in (0, 1))
    return (
        f"{statistics.median(times):.3f} s (median of {len(times)}; {min(times):.3f} to {max(times):.3f}), "
        f"{statistics.median(used):.3f} s of processor ({min(used):.3f} to {max(used):.3f})"
    )


async def live(base: Path, seconds: float) -> None:
    scene = Scene(base, Options(probe_period=10.0, svid_ttl=3600.0))
    async with scene.standing():
        await measure(scene, seconds)


def main(seconds: str = str(SECONDS)) -> int:
    if not namespaces.inside():
        return namespaces.run_inside([sys.executable, "-m", "benchmarks.idle", seconds])
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"Python {sys.version.split()[0]}, kernel {os.uname().release}, {os.cpu_count()} cores, load {load}")
    asyncio.run(live(namespaces.settle(*namespaces.python_roots()), float(seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
