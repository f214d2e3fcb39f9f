"""What a renewal costs where RBAC has a Role and a RoleBinding for each host, and where one has all hosts."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from agent.adapters.kube.calls import Caller
from agent.core.reasons import Reason
from agent.ports import Trouble
from benchmarks.hosts import AT_ONCE, Fixed, Hosts
from benchmarks.usage import Usage
from tests.lab.realparts import MEMBER_USER, ApiServer

RBAC = "rbac.authorization.k8s.io"
Json = dict[str, Any]


async def measure(count: int, seconds: float) -> None:
    for what, objects in (("a binding for each host", _each(count)), ("one binding for all", _one())):
        with ApiServer() as server:
            found = await _renewal(server, objects, seconds)
        each = ", ".join(f"{name} {1000 * used:.2f} ms" for name, used in found.items())
        print(f"{count} hosts, {what}: CPU a renewal: {each}", flush=True)


def _role(name: str, names: list[str]) -> tuple[str, Json]:
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "patch"]}
    return "roles", {"metadata": {"name": name}, "rules": [rule | ({"resourceNames": names} if names else {})]}


def _binding(name: str, kind: str, subject: str) -> tuple[str, Json]:
    role = {"apiGroup": RBAC, "kind": "Role", "name": name}
    subjects = [{"apiGroup": RBAC, "kind": kind, "name": subject}]
    return "rolebindings", {"metadata": {"name": name}, "roleRef": role, "subjects": subjects}


def _each(count: int) -> Iterator[tuple[str, Json]]:
    for number in range(count):
        yield _role(f"vm-{number}", [f"vm-{number}"])
        yield _binding(f"vm-{number}", "User", f"host-{number}" if number else MEMBER_USER)


def _one() -> Iterator[tuple[str, Json]]:
    yield _role("hosts", [])
    yield _binding("hosts", "Group", "fairlead:hosts")


async def _renewal(server: ApiServer, objects: Iterator[tuple[str, Json]], seconds: float) -> dict[str, float]:
    """CPU seconds of one, by process, of one host that renews without a pause."""
    hosts = Hosts(server, 1, 10.0, server.member_token)
    caller, slots = Caller(Fixed(server), "benchmark", 30.0, 30.0), asyncio.Semaphore(AT_ONCE)

    async def create(kind: str, body: Json) -> None:
        async with slots:
            path = f"/apis/{RBAC}/v1/namespaces/{hosts.namespace}/{kind}"
            await caller.call("POST", path, Reason.API_REFUSED, body)

    await asyncio.gather(*(create(kind, body) for kind, body in objects))
    await _permitted(hosts)
    usage, end, before = Usage(server.pids), time.monotonic() + seconds, len(hosts.took)
    usage.since()
    while time.monotonic() < end:
        await hosts.renew("vm-0")
    used, renewals = usage.since(), len(hosts.took) - before
    await hosts.close()
    await caller.close()
    return {name: one / renewals for name, one in used.items()}


async def _permitted(hosts: Hosts) -> None:
    """Rights reach the server's caches some seconds after they were written."""
    async with asyncio.timeout(120):
        await hosts.create("vm-0")
        while True:
            try:
                await hosts.renew("vm-0")
                return
            except Trouble as trouble:
                if trouble.reason is not Reason.API_FORBIDDEN:
                    raise
                await asyncio.sleep(0.2)
