"""How long a host has no proxy after the proxy dies, and how many requests fail: with fairlead, and with a
plain unit of systemd's that only starts it again. python -m benchmarks.proxy (root)

Both on one booted Debian, one after the other: the same program with the same environment as the same user behind
the same redirect; an agent lives beside fairlead's. Each death is the first in a row, but for the last line's.
LINKERD2_PROXY=FILE puts a real linkerd2-proxy in the place of the stand-in, which takes longer to start.
"""

import asyncio
import contextlib
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.lab import installed, netns, unit_machine
from tests.lab.machine import Machine
from tests.lab.proxy_neighbours import ADDRESS, CLIENT_ADDRESS, PORT
from tests.lab.unit_machine import BINARY, PROXY

DEATHS, IN_A_ROW = 7, 4
EVERY, PATIENCE = 0.02, 2.0  # seconds between two requests, and for one of them
PLAIN = "plain.service"
_CACHE = "/var/cache/fairlead-python"
_PYTHON = "/usr/lib/fairlead/bin/python"
# With the limit it would stay dead after the fifth death within ten seconds.
_UNIT = """\
[Unit]
StartLimitIntervalSec=0
[Service]
Type=exec
User=fairlead-proxy
ExecStart={binary}
Restart=always
{variables}
"""


@dataclass
class Load:
    """Requests from beside the host, each over a connection of its own: (begun, ended, by the proxy, past it)."""

    client: netns.Namespace
    answers: list[tuple[float, float, bool, bool]] = field(default_factory=list)

    @contextmanager
    def coming(self) -> Iterator[None]:
        over = threading.Event()
        sending = threading.Thread(target=lambda: self.client.inside(lambda: asyncio.run(self._send(over))))
        sending.start()
        try:
            yield
        finally:
            over.set()
            sending.join()

    async def _send(self, over: threading.Event) -> None:
        async with asyncio.TaskGroup() as group:
            while not over.is_set():
                group.create_task(self._ask())
                await asyncio.sleep(EVERY)

    async def _ask(self) -> None:
        began, said = time.monotonic(), ""
        with contextlib.suppress(OSError):
            said = await _asked()
        past = said == f"application {CLIENT_ADDRESS}\n"
        self.answers.append((began, time.monotonic(), bool(said) and not past, past))


async def _asked() -> str:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(ADDRESS, PORT)
        try:
            writer.write(b"\x00hello\n")  # a proxy waits for the first bytes, to know the protocol
            return (await reader.readline()).decode()
        finally:
            writer.close()


@dataclass(frozen=True)
class Death:
    """`seconds`: from the signal to the answer of the first request that the next proxy serves. `past`: requests
    that were served without a proxy."""

    seconds: float
    sent: int
    failed: int
    past: int


def death(machine: Machine, client: netns.Namespace, unit: str, again: Callable[[], None]) -> Death:
    """`again`: returns when the next one serves."""
    load = Load(client)
    with load.coming():
        time.sleep(0.5)
        dying = time.monotonic()
        machine.kill(int(machine.show(unit, "MainPID")["MainPID"]))
        again()
        time.sleep(0.5)
    lost = [one for one in load.answers if one[0] >= dying and not one[2]]
    since = min((began for began, *_ in lost), default=dying)
    served = min(ended for began, ended, by_proxy, _ in load.answers if by_proxy and began >= since)
    window = [one for one in load.answers if dying <= one[0] <= served]
    return Death(served - dying, len(window), sum(not one[2] for one in window), sum(one[3] for one in window))


def serving(client: netns.Namespace) -> None:
    async def until() -> None:
        async with asyncio.timeout(120):
            while True:
                with contextlib.suppress(OSError):
                    if (await _asked()) not in ("", f"application {CLIENT_ADDRESS}\n"):
                        return
                await asyncio.sleep(0.05)

    client.inside(lambda: asyncio.run(until()))


def by_fairlead(machine: Machine, client: netns.Namespace, *, in_a_row: bool = False) -> list[Death]:
    def again() -> None:
        serving(client)
        machine.wait_for(PROXY)

    found = []
    for _ in range(IN_A_ROW if in_a_row else DEATHS):
        if not in_a_row:
            machine.run("rm", "--force", "/run/fairlead-proxy/starts")
        found.append(death(machine, client, PROXY, again))
    return found


def by_systemd(machine: Machine, client: netns.Namespace) -> list[Death]:
    """In the place of fairlead's unit, with its environment; the redirect is what it was."""
    pid = machine.show(PROXY, "MainPID")["MainPID"]
    environment = [one for one in machine.read(f"/proc/{pid}/environ").split("\0") if one]
    variables = "\n".join(f'Environment="{_escaped(one)}"' for one in environment)
    machine.write(f"/etc/systemd/system/{PLAIN}", _UNIT.format(binary=BINARY, variables=variables))
    machine.systemctl("daemon-reload")
    machine.systemctl("stop", "fairlead.service", PROXY)
    machine.systemctl("start", PLAIN)
    arm = (_PYTHON, "-S", "-P", "-m", "agent.proxyunit.hooks", "arm")
    pid = machine.show(PLAIN, "MainPID")["MainPID"]
    machine.run("env", f"MAINPID={pid}", f"PYTHONPATH={installed.LIBRARY}", *arm)
    serving(client)
    return [death(machine, client, PLAIN, lambda: serving(client)) for _ in range(DEATHS)]


def _escaped(variable: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("%", "%%")):
        variable = variable.replace(plain, escaped)
    return variable


def as_a_package_has_it(machine: Machine) -> None:
    """Every module is compiled, the stand-in's too, which does not do so when started."""
    text = machine.read(BINARY).replace(" -IB", f" -IXpycache_prefix={_CACHE}")
    machine.write(BINARY, text, 0o755)
    parts = ("", "_admin", "_identity", "_metrics", "_traffic")
    modules = ", ".join(
        ("agent.cli.run", "agent.daemon.main", *(f"agent.sandbox.proxy.program{part}" for part in parts))
    )
    where = (f"PYTHONPYCACHEPREFIX={_CACHE}", f"PYTHONPATH={installed.LIBRARY}")
    machine.run("env", *where, _PYTHON, "-P", "-c", f"import {modules}")


def row(name: str, deaths: list[Death]) -> str:
    times = sorted(one.seconds for one in deaths)
    failed, sent = (statistics.mean(column) for column in zip(*((d.failed, d.sent) for d in deaths), strict=True))
    past = sum(one.past for one in deaths)
    figures = f"{statistics.median(times):>8.2f}{times[0]:>8.2f}{times[-1]:>8.2f}"
    return f"{name:<34}{figures}{failed:>9.1f}{sent:>7.1f}{past:>8}"


def main() -> None:
    real = os.environ.get("LINKERD2_PROXY")
    with unit_machine.booted(real) as (machine, client):
        if not real:
            as_a_package_has_it(machine)
        machine.systemctl("start", "fairlead.service")
        serving(client)
        machine.wait_for(PROXY)
        fairlead = by_fairlead(machine, client)
        row_of_them = by_fairlead(machine, client, in_a_row=True)
        systemd = by_systemd(machine, client)
    print(f"the proxy dies, {DEATHS} times; {1 / EVERY:g} requests a second; inbound closed")
    print(f"{'':34}{'serving again after':>24}{'failed':>9}{'of':>7}{'past it':>8}")
    print(f"{'':34}{'median':>8}{'least':>8}{'most s':>8}{'a death':>9}{'':>7}{'in all':>8}")
    print(row("fairlead", fairlead))
    print(row("a unit with Restart=always alone", systemd))
    ratio = statistics.median(d.seconds for d in fairlead) / statistics.median(d.seconds for d in systemd)
    print(f"median with fairlead: {ratio:.1f} times that without")
    each = ", ".join(f"{one.seconds:.1f}" for one in row_of_them)
    print(f"with fairlead, crashes in a row, which wait longer each time: {each} s")


if __name__ == "__main__":
    main()
