"""How long a host has no proxy after the proxy dies, and how many requests fail: with fairlead, while its agent
lives, is dead, or is stopped by SIGSTOP, where the rules are of iptables, and with a plain unit of systemd's that
only starts it again. python -m benchmarks.restart (root)

All on one booted Debian, one after the other: the same program with the same environment as the same user behind
the same redirect. Each death is the first in a row, but for the last line's. The last column tells how often the
redirect was set by what root had prepared: the others took the tested path.
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
from dataclasses import dataclass, field, replace
from functools import partial

from tests.lab import installed, netns, unit_machine
from tests.lab.machine import Machine
from tests.lab.proxy_neighbours import ADDRESS, CLIENT_ADDRESS, PORT
from tests.lab.unit_machine import BINARY, PROXY

DEATHS, IN_A_ROW = 10, 4
EVERY, PATIENCE = 0.02, 2.0  # seconds between two requests, and for one of them
PLAIN, AGENT = "plain.service", "fairlead.service"
CONFIGURATION = "/etc/fairlead/fairlead.toml"
_PREPARED = "the redirect is ON (prepared)"
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
    prepared: bool = False


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


def by_fairlead(
    machine: Machine, client: netns.Namespace, deaths: int = DEATHS, before: Callable[[], object] = lambda: None
) -> list[Death]:
    """`before`: what is done before each death."""

    def again() -> None:
        serving(client)
        machine.wait_for(PROXY)

    found = []
    for _ in range(deaths):
        before()
        said = machine.journal(PROXY, 100000).count(_PREPARED)
        one = death(machine, client, PROXY, again)
        prepared = machine.journal(PROXY, 100000).count(_PREPARED) > said
        found.append(replace(one, prepared=prepared))
    return found


def first_in_a_row(machine: Machine) -> None:
    machine.run("rm", "--force", "/run/fairlead-proxy/starts")


def stopped(machine: Machine) -> None:
    """The agent lives, and does nothing: its watchdog has not noticed yet."""
    first_in_a_row(machine)
    machine.systemctl("kill", "--kill-who=main", "--signal=CONT", AGENT)
    machine.wait_for(AGENT)
    time.sleep(1)
    machine.systemctl("kill", "--kill-who=main", "--signal=STOP", AGENT)


@contextmanager
def iptables(machine: Machine) -> Iterator[None]:
    """Rules of iptables inside the block: their restart takes the tested path, only the launch is prepared."""
    plain = machine.read(CONFIGURATION)
    configured(machine, plain.replace("[redirect]", '[redirect]\nbackend = "iptables-nft"'))
    yield
    configured(machine, plain)


def configured(machine: Machine, text: str) -> None:
    machine.write(CONFIGURATION, text)
    machine.run("fairlead", "redirect", "apply")
    machine.systemctl("restart", AGENT)
    machine.wait_for(AGENT)


def by_systemd(machine: Machine, client: netns.Namespace) -> list[Death]:
    plain_unit(machine)
    serving(client)
    return [death(machine, client, PLAIN, lambda: serving(client)) for _ in range(DEATHS)]


def plain_unit(machine: Machine) -> None:
    """In the place of fairlead's unit, with its environment; the redirect is what it was."""
    pid = machine.show(PROXY, "MainPID")["MainPID"]
    environment = [one for one in machine.read(f"/proc/{pid}/environ").split("\0") if one]
    variables = "\n".join(f'Environment="{_escaped(one)}"' for one in environment)
    machine.write(f"/etc/systemd/system/{PLAIN}", _UNIT.format(binary=BINARY, variables=variables))
    machine.systemctl("daemon-reload")
    machine.systemctl("stop", AGENT, PROXY)
    machine.systemctl("start", PLAIN)
    arm = (_PYTHON, "-S", "-P", "-m", "agent.proxyunit.hooks", "arm")
    pid = machine.show(PLAIN, "MainPID")["MainPID"]
    machine.run("env", f"MAINPID={pid}", f"PYTHONPATH={installed.LIBRARY}", *arm)


def _escaped(variable: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("%", "%%")):
        variable = variable.replace(plain, escaped)
    return variable


def as_a_package_has_it(machine: Machine) -> None:
    """Every module is compiled, the stand-in's too, which does not do so when started."""
    text = machine.read(BINARY).replace(" -IB", f" -IXpycache_prefix={_CACHE}")
    machine.write(BINARY, text, 0o755)
    modules = "agent.cli.run, agent.daemon.configurations, agent.sandbox.proxy.program"
    where = (f"PYTHONPYCACHEPREFIX={_CACHE}", f"PYTHONPATH={installed.LIBRARY}")
    machine.run("env", *where, _PYTHON, "-P", "-c", f"import {modules}")


def row(name: str, deaths: list[Death]) -> str:
    times = sorted(one.seconds for one in deaths)
    failed, sent = (statistics.mean(column) for column in zip(*((d.failed, d.sent) for d in deaths), strict=True))
    past = sum(one.past for one in deaths)
    figures = f"{statistics.median(times):>8.2f}{times[0]:>8.2f}{times[-1]:>8.2f}"
    prepared = sum(one.prepared for one in deaths)
    return f"{name:<34}{figures}{failed:>9.1f}{sent:>7.1f}{past:>8}{prepared:>10}"


def main() -> None:
    real = os.environ.get("LINKERD2_PROXY")
    with unit_machine.booted(real) as (machine, client):
        if not real:
            as_a_package_has_it(machine)
        machine.systemctl("start", "cluster")
        machine.systemctl("start", AGENT)
        serving(client)
        machine.wait_for(PROXY)
        rows = {"fairlead": by_fairlead(machine, client, before=partial(first_in_a_row, machine))}
        in_a_row = by_fairlead(machine, client, IN_A_ROW)
        with iptables(machine):
            serving(client)
            rows["fairlead, rules of iptables"] = by_fairlead(
                machine, client, before=partial(first_in_a_row, machine)
            )
        serving(client)
        rows["fairlead, agent stopped (SIGSTOP)"] = by_fairlead(machine, client, before=partial(stopped, machine))
        machine.systemctl("kill", "--signal=KILL", AGENT)
        machine.systemctl("stop", AGENT)
        rows["fairlead, agent dead"] = by_fairlead(machine, client, before=partial(first_in_a_row, machine))
        rows["a unit with Restart=always alone"] = by_systemd(machine, client)
    print(f"the proxy dies, {DEATHS} times; {1 / EVERY:g} requests a second; inbound closed")
    print(f"{'':34}{'serving again after':>24}{'failed':>9}{'of':>7}{'past it':>8}{'prepared':>10}")
    print(f"{'':34}{'median':>8}{'least':>8}{'most s':>8}{'a death':>9}{'':>7}{'in all':>8}{'of these':>10}")
    for name, deaths in rows.items():
        print(row(name, deaths))
    each = ", ".join(f"{one.seconds:.2f}" for one in in_a_row)
    print(f"with fairlead, crashes in a row, which wait longer each time: {each} s")


if __name__ == "__main__":
    main()
