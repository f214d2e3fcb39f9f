"""The scenario `dead-host`: three hosts serve one Service while the watcher observes them. The network of one is
cut under load, then that of all."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent.sandbox.api.server import EXTERNAL_WORKLOADS, LEASES
from agent.sandbox.stage import kubeconfig
from agent.sandbox.stage.background import background
from agent.sandbox.stage.client import Load
from agent.sandbox.stage.scene import NAMESPACE, Options, Scene, end
from agent.sandbox.stage.three_hosts import three
from agent.sandbox.stage.tour import PATIENCE, Missed, Step, is_ready, must, until
from agent.sandbox.stage.upgrade import LAG, Chooser

PERIOD = 5  # seconds: the shortest, so that the scenario is over soon
GRACE, TO_NOTICE, TO_RETURN = 4 * PERIOD, 6.0, 15.0
WATCHERS_TOKEN = "sandbox-watcher"  # noqa: S105 - it is valid only for the server in this process
SETTINGS = {'audience = "kubernetes"\n': f'audience = "kubernetes"\nlease_period = {PERIOD}\n'}
TABLE = "inet sandbox_cut"


@dataclass
class DeadHost:
    hosts: Sequence[Scene]
    client: Load
    watcher_log: Path

    def steps(self) -> list[Step]:
        return [
            Step("three hosts", "join, and the watcher observes them", self._join, "fairlead watcher"),
            Step("one is cut off", "the second host loses its network under load", self._cut),
            Step("it is back", "its network works again", self._back),
            Step("all are cut off", "every host loses its network", self._cut_all),
            Step("all are back", "the network works again", self._all_back),
        ]

    async def _join(self, _: Scene) -> str:
        for host in self.hosts:
            await host.start_app()
            await host.start_agent()
        for host in self.hosts:
            await until(host, is_ready, "Ready=True")
        await self._more(20)
        return f"{len(self._listed())} hosts in the EndpointSlices; {self._failed(0)}"

    async def _cut(self, _: Scene) -> str:
        second, before = self.hosts[1], len(self.client.failed)
        cut([second])
        await self._until_listed(2)
        took = time.time() - renewed(second)
        must(second.ready() == ("Unknown", "HostUnreachable"), f"Ready is {second.ready()}")
        must(took <= GRACE + TO_NOTICE, f"it was listed for {took:.1f} s after its last renewal")
        await asyncio.sleep(2 * LAG)  # the client has read the slices that came meanwhile, too
        after = self.client.sent
        await self._more(40)
        lost = self.client.failed_after(after)
        must(not lost, f"requests still go to it: {lost[:3]}")
        failed = len(self.client.failed) - before
        return f"no longer listed {took:.1f} s after its last renewal, {failed} requests failed until then"

    async def _back(self, _: Scene) -> str:
        before, began = len(self.client.failed), time.monotonic()
        cut([])
        await self._until_listed(3)
        took = time.monotonic() - began
        must(took <= TO_RETURN, f"it came back after {took:.1f} s")
        await self._more(40)
        return f"Ready by itself after {took:.1f} s; {self._failed(before)}"

    async def _cut_all(self, _: Scene) -> str:
        cut(self.hosts)
        await asyncio.sleep(2 * GRACE)
        must(len(self._listed()) == 3, f"only {self._listed()} are listed")
        must(all(host.ready()[0] == "True" for host in self.hosts), "a host was marked")
        must("FleetSilent" in self.watcher_log.read_text(), "the watcher does not say why")
        return f"all silent for {2 * GRACE} s, and none is marked (FleetSilent)"

    async def _all_back(self, _: Scene) -> str:
        cut([])
        for host in self.hosts:
            await until(host, is_ready, "Ready=True")
        await asyncio.sleep(GRACE + TO_NOTICE)  # the watcher has looked at each again
        must(all(host.ready()[0] == "True" for host in self.hosts), "a host was marked afterwards")
        before = len(self.client.failed)
        await self._more(40)
        return f"{len(self._listed())} hosts are listed; {self._failed(before)}"

    # checks ------------------------------------------------------------------------------------------

    def _listed(self) -> list[str]:
        return self.hosts[0].listed()

    async def _until_listed(self, count: int) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while len(self._listed()) != count:
                    await self.hosts[0].api.store.news().wait()
        except TimeoutError:
            last = self.watcher_log.read_text().splitlines()[-3:]
            raise Missed(f"not {count} hosts, but {self._listed()}; the watcher: {last}") from None

    async def _more(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.client.reached(self.client.sent + count)

    def _failed(self, before: int) -> str:
        failed = self.client.failed[before:]
        must(not failed, f"{len(failed)} requests failed: {failed[:3]}")
        return "no request failed"


def renewed(host: Scene) -> float:
    """When its Lease was last renewed, in seconds since the epoch."""
    stamp = host.api.get(LEASES, NAMESPACE, host.name)["spec"]["renewTime"]
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def cut(hosts: Sequence[Scene]) -> None:
    """Drop every packet to and from these hosts, and of no other."""
    links = ", ".join(f'"{host.place.link}"' for host in hosts)
    rules = f"table {TABLE}\ndelete table {TABLE}\n"
    for hook, match in (("input", "iifname"), ("output", "oifname"), ("forward", "iifname")):
        if links:
            body = f"type filter hook {hook} priority -300; {match} {{ {links} }} drop;"
            rules += f"table {TABLE} {{\nchain {hook} {{\n{body}\n}}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True, env={**os.environ})


@contextlib.asynccontextmanager
async def standing(base: Path, log: int | None) -> AsyncIterator[DeadHost]:
    """The hosts, the watcher as a process of the cluster, and a running client."""
    options = Options(log=log, replace=SETTINGS)
    async with contextlib.AsyncExitStack() as stack:
        hosts = await stack.enter_async_context(three(base, options))
        one = hosts[0]
        watcher_log = base / "watcher.log"
        await stack.enter_async_context(watching(one, watcher_log))
        chooser = Chooser(one.api)
        load = Load(chooser.url)
        await stack.enter_async_context(background(chooser.run(), _send(one, load)))
        yield DeadHost(hosts, load, watcher_log)


@contextlib.asynccontextmanager
async def watching(scene: Scene, log: Path, listen: str = "127.0.0.1:0") -> AsyncIterator[None]:
    config = kubeconfig.write(scene, "watcher", WATCHERS_TOKEN)
    arguments = ["watcher", "--kubeconfig", str(config), "-n", NAMESPACE, "--lease-namespace", NAMESPACE]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", *arguments, "--listen", listen),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=output,
            env={**os.environ},
        )
    try:
        yield
    finally:
        await end(process)


async def _send(scene: Scene, load: Load) -> None:
    """Once all hosts are listed."""
    while len(scene.listed()) < len(scene.api.find(EXTERNAL_WORKLOADS, NAMESPACE)):
        await scene.api.store.news().wait()
    await asyncio.sleep(2 * LAG)
    await load.run()
