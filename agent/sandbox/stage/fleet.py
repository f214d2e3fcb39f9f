"""The scenario `fleet`: hosts of one group serve one Service. One joins late, another is retired, under load."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.core.enrol import group, objects
from agent.core.enrol.request import Host
from agent.sandbox.api.errors import ApiError
from agent.sandbox.api.server import EXTERNAL_WORKLOADS, LEASES
from agent.sandbox.api.store import Place
from agent.sandbox.stage import kubeconfig
from agent.sandbox.stage.background import background
from agent.sandbox.stage.client import Load
from agent.sandbox.stage.scene import NAMESPACE, PORT, TRUST_DOMAIN, Options, Scene
from agent.sandbox.stage.three_hosts import three
from agent.sandbox.stage.tour import PATIENCE, Missed, Step, is_ready, must, until
from agent.sandbox.stage.upgrade import LAG, Chooser

OPERATORS_TOKEN = "sandbox-operator"  # noqa: S105 - it is valid only for the server in this process
SETTINGS = {'audience = "kubernetes"\n': 'audience = "kubernetes"\nlease_period = 5\n'}  # the shortest
GROUP: Mapping[str, Any] = {
    "apiVersion": group.VERSION,
    "kind": "WorkloadGroup",
    "metadata": {"name": "db", "namespace": NAMESPACE},
    "spec": {
        "template": {
            "metadata": {"labels": {"app": "db"}},
            "spec": {"ports": [{"name": "http", "port": PORT}]},
        },
        "meshTLS": {"identity": f"spiffe://{TRUST_DOMAIN}/{{name}}"},
    },
}


@dataclass
class Fleet:
    """`hosts`: three, of which the last joins late. `config`: the operator's kubeconfig."""

    hosts: Sequence[Scene]
    client: Load
    config: Path

    def steps(self) -> list[Step]:
        retire = f"fairlead retire {self.hosts[0].name} -n {NAMESPACE}"
        return [
            Step("two hosts", "of one group join, and a client chooses between them", self._two),
            Step("a third", "of the group joins under load", self._third, "fairlead join BUNDLE"),
            Step("the first is retired", "under load, by an operator", self._retire, retire),
            Step("two are left", "and serve all that comes", self._left),
        ]

    async def _two(self, _: Scene) -> str:
        for host in self.hosts[:2]:
            await join(host)
        for host in self.hosts[:2]:
            await until(host, is_ready, "Ready=True")
        await self._more(20)
        return f"{len(self._listed())} hosts in the EndpointSlices; {self._failed()}"

    async def _third(self, _: Scene) -> str:
        late = self.hosts[2]
        await join(late)
        await until(late, is_ready, "Ready=True")
        await self._until_listed(late, there=True)
        before = self.client.seen[late.place.address]
        await asyncio.sleep(2 * LAG)  # the client has read the slices
        await self._more(30)
        served = self.client.seen[late.place.address] - before
        must(served > 0, f"no request reached it: {dict(self.client.seen)}")
        return f"{served} requests reached it; {self._failed()}"

    async def _retire(self, _: Scene) -> str:
        first = self.hosts[0]
        code, output = await self._operator("retire", first.name, "-n", NAMESPACE)
        must(code == 0, f"exit {code}: {output}")
        for kind in EXTERNAL_WORKLOADS, LEASES:
            must(not exists(first, kind), f"its {kind.kind} is still there")
        await self._until_listed(first, there=False)
        await asyncio.sleep(2 * LAG)
        before = self.client.seen[first.place.address]
        await self._more(30)
        must(self.client.seen[first.place.address] == before, "requests still go to it")
        must("has drained" in output, output)
        return f"it drained, and its objects are deleted; {self._failed()}"

    async def _left(self, _: Scene) -> str:
        for host in self.hosts[1:]:
            await until(host, is_ready, "Ready=True")
        must(len(self._listed()) == 2, f"{self._listed()} are listed")
        await self._more(40)
        return f"{len(self._listed())} hosts in the EndpointSlices; {self._failed()}"

    # checks ------------------------------------------------------------------------------------------

    async def _operator(self, *words: str) -> tuple[int, str]:
        """A verb of an operator, in the cluster's network; exit code and output."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", *words, "--kubeconfig", str(self.config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ},
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    def _listed(self) -> list[str]:
        return self.hosts[0].listed()

    async def _until_listed(self, host: Scene, *, there: bool) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while (host.place.address in self._listed()) is not there:
                    await host.api.store.news().wait()
        except TimeoutError:
            raise Missed(f"{host.name} is {'not ' if there else ''}listed: {self._listed()}") from None

    async def _more(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.client.reached(self.client.sent + count)

    def _failed(self) -> str:
        """Of every request so far; one that failed is a step that missed."""
        failed = self.client.failed
        must(not failed, f"{len(failed)} of {self.client.sent} requests failed: {failed[:3]}")
        return f"{self.client.sent} requests so far, none failed"


async def join(host: Scene) -> None:
    """As a member of the group: its ExternalWorkload is what `fairlead enrol` makes of it."""
    of = group.read(dict(GROUP))
    identity = of.filled(of.identity, host.name)
    made = objects.workload(
        Host(
            name=host.name,
            namespace=NAMESPACE,
            addresses=host.place.addresses,
            identity=identity,
            server_name=host.workload()["spec"]["meshTLS"]["serverName"],
            ports=of.ports,
            labels=of.labels,
            annotations=of.annotations,
            group=of.name,
        )
    )
    wanted = {"labels": made["metadata"]["labels"], "annotations": made["metadata"]["annotations"]}
    host.api.store.patch(
        Place(EXTERNAL_WORKLOADS, NAMESPACE, host.name),
        lambda body: {**body, "metadata": {**body["metadata"], **wanted}, "spec": made["spec"]},
    )
    await host.start_app()
    await host.start_agent()


def exists(host: Scene, kind: Any) -> bool:
    try:
        host.api.get(kind, NAMESPACE, host.name)
    except ApiError:
        return False
    return True


@contextlib.asynccontextmanager
async def standing(base: Path, log: int | None) -> AsyncIterator[Fleet]:
    """The hosts, and a running client."""
    options = Options(log=log, replace=SETTINGS)
    async with contextlib.AsyncExitStack() as stack:
        hosts = await stack.enter_async_context(three(base, options))
        one = hosts[0]
        config = kubeconfig.write(one, "operator", OPERATORS_TOKEN)
        chooser = Chooser(one.api)
        load = Load(chooser.url)
        await stack.enter_async_context(background(chooser.run(), _send(one, load)))
        yield Fleet(hosts, load, config)


async def _send(scene: Scene, load: Load) -> None:
    """Once two hosts are listed."""
    while len(scene.listed()) < 2:
        await scene.api.store.news().wait()
    await asyncio.sleep(2 * LAG)
    await load.run()
