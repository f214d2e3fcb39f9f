"""What the agent of the package costs on a host, and how soon it is READY. python -m benchmarks.package [MINUTES]
(root; the packages are built first)

On a booted Debian with the package, joined and Ready, beside the cluster of the sandbox. READY and the start of
the proxy are by the timestamps of systemd; the memory is that after so many minutes in which nothing happens.
"""

import os
import statistics
import sys
import time
from typing import Final

from agent.sandbox.stage.scene import PORT
from benchmarks import idle
from tests.lab.machine import Machine
from tests.system import mesh as beside_it
from tests.system.host import SUITES, install
from tests.system.mesh import AGENT, PROXY
from tests.system.test_join import BUNDLE, bundle

MINUTES: Final = 10.0
TIMES: Final = 5
_MICRO: Final = 1_000_000


def ready(machine: Machine) -> float:
    """Seconds from the start of the agent's process to READY=1."""
    machine.systemctl("restart", AGENT)
    found = machine.show(AGENT, "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    began, active = (int(found[name]) for name in sorted(found, reverse=True))
    return (active - began) / _MICRO


def restarted(machine: Machine) -> float:
    """Seconds from the end of the proxy's process until the redirect is ON for the next one."""
    machine.run("rm", "--force", "/run/fairlead-proxy/starts")  # a first crash in a row
    before = beside_it.pid(machine, PROXY)
    machine.kill(before)

    def again() -> bool:
        active = machine.show(PROXY, "ActiveState")["ActiveState"] == "active"
        return active and beside_it.pid(machine, PROXY) not in (0, before)

    machine.wait_until(again, "the next one is ready", 120)
    found = machine.show(PROXY, "InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    began, active = (int(found[name]) for name in sorted(found, reverse=True))
    return (active - began) / _MICRO


def spread(found: list[float]) -> str:
    return f"{statistics.median(found):.2f} s (median of {len(found)}; {min(found):.2f} to {max(found):.2f})"


def memory(text: str) -> None:
    total, by_mapping = idle.mappings(text)
    print("  memory: " + ", ".join(f"{name} {total[key] / 1024:.1f} MiB" for name, key in idle.KINDS))
    for name, size in by_mapping.most_common(idle.LARGEST):
        print(f"    {size / 1024:6.1f} MiB  {name}")


def ticks(stat: str) -> tuple[float, float]:
    """Seconds of processor, of the agent and of programs that it started and have ended."""
    user, system, of_users, of_system = (int(field) for field in stat.rpartition(")")[2].split()[11:15])
    return (user + system) / idle.TICKS, (of_users + of_system) / idle.TICKS


def measure(machine: Machine, seconds: float) -> None:
    print(f"READY after {spread([ready(machine) for _ in range(TIMES)])}")
    print(f"a proxy that was killed: start to redirect ON {spread([restarted(machine) for _ in range(TIMES)])}")
    time.sleep(20)
    pid = beside_it.pid(machine, AGENT)
    before = ticks(machine.run("cat", f"/proc/{pid}/stat"))
    time.sleep(seconds)
    after = ticks(machine.run("cat", f"/proc/{pid}/stat"))
    print(f"at rest for {seconds / 60:g} minutes:")
    print(f"  processor: {(after[0] - before[0]) / seconds:.2%} of a core, programs {after[1] - before[1]:.2f} s")
    memory(machine.run("cat", f"/proc/{pid}/smaps"))


def main(minutes: str = str(MINUTES)) -> int:
    if os.geteuid() != 0:
        print("package: left out, because only root can boot a machine")
        return 0
    with beside_it.beside(SUITES[0]) as (machine, mesh):
        install(machine)
        beside_it.entitle(machine, mesh)
        beside_it.install_proxy(machine)
        machine.write(BUNDLE, bundle(mesh, PORT).text)
        machine.run("fairlead", "join", BUNDLE, "--yes", within=180)
        load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
        print(f"Debian 12, kernel {os.uname().release}, {os.cpu_count()} cores, load {load}", flush=True)
        measure(machine, float(minutes) * 60)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
