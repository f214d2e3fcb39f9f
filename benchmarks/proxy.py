"""How long a host is without its proxy when it dies, and how many requests that costs: with fairlead, and with a
plain supervisor that only starts it again. python -m benchmarks.proxy (root)"""

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from agent.sandbox import namespaces, network
from agent.sandbox.client import Load, ask
from agent.sandbox.scene import PROXY_UID, Options, Scene
from agent.sandbox.tour import URL, is_ready, until

DEATHS = 5
PER_SECOND = 50.0
# What Restart=always with the usual RestartSec=100ms does, and no more.
SUPERVISOR = 'while :; do setpriv --reuid={uid} --clear-groups "$0"; sleep 0.1; done'


@dataclass
class Death:
    """`seconds`: until a request went through the proxy again. `plain`: requests that were served past it."""

    seconds: float
    sent: int
    failed: int
    plain: int


async def _death(pid: int) -> Death:
    load = Load(URL, per_second=PER_SECOND)
    sending = asyncio.create_task(load.run())
    await load.reached(20)
    before, began = load.sent, time.monotonic()
    os.kill(pid, signal.SIGKILL)
    plain = 0
    while True:
        try:
            through = (await ask(URL, aiohttp.ClientTimeout(total=1)))["from"] == network.HOST
        except (aiohttp.ClientError, TimeoutError):
            through = False
        else:
            plain += not through
        if through:
            break
        await asyncio.sleep(0.01)
    took = time.monotonic() - began
    await load.reached(load.sent + 20)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    return Death(took, load.sent - before, len(load.failed), plain)


async def _by_fairlead(scene: Scene) -> list[Death]:
    found = []
    for _ in range(DEATHS):
        status = await until(scene, is_ready, "Ready=True")
        found.append(await _death(status["facts"]["proxy"]["process"]["pid"]))
    return found


async def _by_a_supervisor(scene: Scene) -> list[Death]:
    """The agent is gone; its rules stay as they are, and the proxy has the same environment."""
    status = await until(scene, is_ready, "Ready=True")
    pid = status["facts"]["proxy"]["process"]["pid"]
    environment = _environment(pid)
    binary = str(scene.base / "linkerd2-proxy")
    await scene.end_agent()
    os.kill(pid, signal.SIGKILL)
    script = SUPERVISOR.format(uid=PROXY_UID)
    supervisor = await scene.on_host("env", "-i", "PATH=/usr/bin:/bin", *environment, "sh", "-c", script, binary)
    try:
        found = []
        for _ in range(DEATHS):
            await _serving()
            found.append(await _death(_child(supervisor.pid)))
        return found
    finally:
        supervisor.kill()
        await supervisor.wait()


def _environment(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return [line.decode() for line in lines if line]


async def _serving() -> None:
    while True:
        try:
            await ask(URL, aiohttp.ClientTimeout(total=1))
            return
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.05)


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _row(name: str, deaths: list[Death]) -> str:
    times = sorted(death.seconds for death in deaths)
    failed, sent = sum(d.failed for d in deaths), sum(d.sent for d in deaths)
    middle = times[len(times) // 2]
    return f"{name:<34}{times[0]:>8.2f}{middle:>8.2f}{times[-1]:>8.2f}{failed / len(deaths):>10.1f}{sent:>8}"


async def _run(base: Path) -> None:
    async with Scene(base, Options()).standing() as scene:
        await scene.start_app()
        await scene.start_agent()
        fairlead = await _by_fairlead(scene)
        supervisor = await _by_a_supervisor(scene)
    print(f"death of the proxy to serving again, {DEATHS} times, a client at {PER_SECOND:g} requests/s")
    print(f"{'':<34}{'least':>8}{'middle':>8}{'most':>8}{'failed':>10}{'sent':>8}")
    print(f"{'':<34}{'s':>8}{'s':>8}{'s':>8}{'a death':>10}{'':>8}")
    print(_row("fairlead", fairlead))
    print(_row("plain supervisor, rules in place", supervisor))
    each = ", ".join(f"{death.seconds:.2f}" for death in fairlead)
    print(f"with fairlead, one after the other (each crash waits twice as long as the last): {each} s")
    past = sum(death.plain for death in fairlead)
    print(f"requests that reached the application past the proxy, with fairlead and inbound closed: {past}")


def main() -> int:
    if not namespaces.inside():
        return namespaces.run_inside([sys.executable, "-m", "benchmarks.proxy"])
    asyncio.run(_run(namespaces.settle(*namespaces.python_roots())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
