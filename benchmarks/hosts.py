"""Hosts that only renew their Leases, on a real API server."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from agent.adapters.kube.access import Access
from agent.adapters.kube.calls import Caller
from agent.core.reasons import Fault, Reason
from agent.host import clocks
from agent.sandbox.api.schema import EXTERNAL_WORKLOAD_CRD
from tests.lab.realparts import ApiServer
from tests.watcher.watching import LEASES, WORKLOADS, ZONE

AT_ONCE = 32


class Fixed:
    """A credential that is never renewed. `token`: "" for the administrator's."""

    def __init__(self, server: ApiServer, token: str = "") -> None:
        token = token or server.admin_token
        self._access = Access(server.url, server.ca_file.read_bytes(), "the benchmark", token)

    async def access(self) -> Access:
        return self._access

    def refused(self, said: str) -> Fault:
        return Fault(Reason.API_UNAUTHORIZED, said)

    def about(self) -> dict[str, Any]:
        return {"kind": "benchmark"}

    async def close(self) -> None:
        """It holds nothing."""


class Hosts:
    """`dead`: they do not renew. `renewals`, `late`: how many were made, and how many more than a second late.
    `renewed_at`: the last one of each, seconds since the epoch. `took`: seconds of each renewal. `token`: of who
    renews; "": the administrator. `tokens`: instead, of each host."""

    def __init__(
        self, server: ApiServer, count: int, period: float, token: str = "", tokens: Sequence[str] = ()
    ) -> None:
        server.install_crd(EXTERNAL_WORKLOAD_CRD)
        self.namespace, self.period = server.new_namespace(), period
        self.names = [f"vm-{number}" for number in range(count)]
        self.dead: set[str] = set()
        self.renewed_at: dict[str, float] = {}
        self.renewals = self.late = 0
        self.took: list[float] = []
        self._caller = Caller(Fixed(server), "benchmark", 30.0, 30.0)
        renewers = [Caller(Fixed(server, one), "benchmark", 30.0, 30.0) for one in tokens or (token,)]
        self._renewers = dict(zip(self.names, itertools.cycle(renewers), strict=False))
        self._workloads, self._leases = WORKLOADS.format(self.namespace), LEASES.format(self.namespace)
        self._slots = asyncio.Semaphore(max(AT_ONCE, len(tokens)))

    async def close(self) -> None:
        await self._caller.close()
        for renewer in set(self._renewers.values()):
            await renewer.close()

    def zone(self, name: str) -> str:
        return "abc"[int(name.rpartition("-")[2]) % 3]

    def address(self, name: str) -> str:
        number = int(name.rpartition("-")[2])
        return f"198.18.{number // 250}.{number % 250}"

    async def enrol(self) -> None:
        await asyncio.gather(*(self._enrol(name) for name in self.names))

    async def give_back(self, names: list[str]) -> None:
        """The agents set Ready again."""
        await asyncio.gather(*(self._ready(name) for name in names))

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Each in its own part of the period, as hosts are that started by chance."""
        async with asyncio.TaskGroup() as group:
            started = asyncio.get_running_loop().time()
            tasks = [
                group.create_task(self._renew(name, started + number * self.period / len(self.names)))
                for number, name in enumerate(self.names)
            ]
            yield
            for task in tasks:
                task.cancel()

    async def _enrol(self, name: str) -> None:
        await self.create(name)
        await self.renew(name)
        await self._ready(name)

    async def create(self, name: str) -> None:
        """Its ExternalWorkload and its Lease, which was never renewed."""
        spec = {"meshTLS": {"identity": f"spiffe://td/{name}", "serverName": f"{name}.td"}}
        body = {
            "apiVersion": "workload.linkerd.io/v1beta1",
            "kind": "ExternalWorkload",
            "metadata": {"name": name, "labels": {ZONE: self.zone(name)}},
            "spec": {**spec, "workloadIPs": [{"ip": self.address(name)}], "ports": [{"port": 8080}]},
        }
        made = await self._call("POST", self._workloads, body)
        owner = {"apiVersion": body["apiVersion"], "kind": body["kind"], "name": name}
        owner["uid"] = made["metadata"]["uid"]
        await self._call("POST", self._leases, {"metadata": {"name": name, "ownerReferences": [owner]}})

    async def _ready(self, name: str) -> None:
        ready = {"type": "Ready", "status": "True", "reason": "HostReady", "message": "as intended"}
        condition = {**ready, "lastTransitionTime": clocks.wall()}
        others = [{**condition, "type": f"fairlead.dev/{kind}"} for kind in ("ProxyReady", "RedirectActive")]
        await self._call(
            "PATCH", f"{self._workloads}/{name}/status", {"status": {"conditions": [condition, *others]}}
        )

    async def _renew(self, name: str, due: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(due - loop.time())
            if name not in self.dead:
                await self.renew(name)
                self.renewals += 1
                self.late += loop.time() - due > 1
            due += self.period

    async def renew(self, name: str) -> None:
        spec = {"holderIdentity": name, "renewTime": clocks.exact_wall()}
        body = {"spec": {**spec, "leaseDurationSeconds": int(4 * self.period)}}
        at, began = time.time(), time.monotonic()
        await self._call("PATCH", f"{self._leases}/{name}", body, self._renewers[name])
        self.renewed_at[name] = at
        self.took.append(time.monotonic() - began)

    async def _call(
        self, method: str, path: str, body: dict[str, Any], caller: Caller | None = None
    ) -> dict[str, Any]:
        async with self._slots:
            return await (caller or self._caller).call(method, path, Reason.API_REFUSED, body)
