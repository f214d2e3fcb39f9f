"""Heartbeats while a tenant lists without a pause, without and with config/cluster/heartbeats.yaml.

The tenant has many users, because the API server queues fairly by user: one alone delays no other.
"""

import asyncio
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from agent.adapters.kube import TokenFile
from agent.adapters.kube.calls import Caller
from agent.core.reasons import Reason
from agent.ports import Trouble
from benchmarks.hosts import Hosts
from benchmarks.usage import requests
from tests.lab.realparts import ApiServer
from tests.watcher.watching import WORKLOADS

FLOW = Path(__file__).parents[1] / "config/cluster/heartbeats.yaml"
PLURALS = {"PriorityLevelConfiguration": "prioritylevelconfigurations", "FlowSchema": "flowschemas"}
TENANTS = tuple(f"tenant-{number}" for number in range(100))  # each asks all the time
PERIOD = 10.0


async def measure(count: int, seconds: float) -> None:
    for what, schema in (("without the flow schema", False), ("with it", True)):
        users = dict.fromkeys(TENANTS, "tenants") | {f"host-{number}": "fairlead:hosts" for number in range(count)}
        with ApiServer(users=users) as server:
            print(f"{count} hosts and a tenant's flood, {what}: {await _flooded(server, count, seconds, schema)}")
            sys.stdout.flush()


async def _flooded(server: ApiServer, count: int, seconds: float, schema: bool) -> str:
    hosts = Hosts(server, count, PERIOD, tokens=[server.tokens[f"host-{number}"] for number in range(count)])
    _permit(server, hosts.namespace)
    for document in yaml.safe_load_all(FLOW.read_text()) if schema else ():
        server.must("POST", f"/apis/flowcontrol.apiserver.k8s.io/v1/{PLURALS[document['kind']]}", document)
    await asyncio.sleep(2)  # until the server has read its rights and its flow schemas
    await hosts.enrol()
    async with hosts.renewing():
        with _flood(server, hosts.namespace):
            await asyncio.sleep(2)
            hosts.took.clear()
            hosts.late, before = 0, requests(server)
            await asyncio.sleep(seconds)
            flood = (requests(server) - before - len(hosts.took)) / seconds
    await hosts.close()
    took = hosts.took or [math.inf]
    spread = f"median {statistics.median(took):.2f} s, most {max(took):.2f} s"
    late = f"{len(hosts.took)} renewals, {hosts.late} more than a second late"
    return f"{flood:.0f} requests/s of the tenant; {late}; a renewal takes {spread}"


def _permit(server: ApiServer, namespace: str) -> None:
    _allow(server, namespace, "tenants", "workload.linkerd.io", "externalworkloads", "list")
    _allow(server, namespace, "fairlead:hosts", "coordination.k8s.io", "leases", "get", "patch")


def _allow(server: ApiServer, namespace: str, group: str, api: str, resource: str, *verbs: str) -> None:
    base, kind = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}", "rbac.authorization.k8s.io"
    rule = {"apiGroups": [api], "resources": [resource], "verbs": list(verbs)}
    server.must("POST", f"{base}/roles", {"metadata": {"name": resource}, "rules": [rule]})
    role, subject = {"apiGroup": kind, "kind": "Role", "name": resource}, {"apiGroup": kind, "kind": "Group"}
    binding = {"metadata": {"name": resource}, "roleRef": role, "subjects": [{**subject, "name": group}]}
    server.must("POST", f"{base}/rolebindings", binding)


@contextmanager
def _flood(server: ApiServer, namespace: str) -> Iterator[None]:
    """From a process of its own: this one has to be in time for the renewals."""
    with tempfile.TemporaryDirectory() as folder:
        for user in TENANTS:
            (Path(folder) / user).write_text(server.tokens[user])
        words = (server.url, str(server.ca_file), namespace, folder)
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.fleet_flood", *words], env={**os.environ})
        try:
            yield
        finally:
            process.kill()
            process.wait()


async def requesting(url: str, ca_file: str, namespace: str, folder: str) -> None:
    async def client(user: str) -> None:
        caller = Caller(TokenFile(url, ca_file, f"{folder}/{user}"), "flood", 60.0, 60.0)
        while True:
            with suppress(Trouble):
                await caller.call("GET", WORKLOADS.format(namespace), Reason.API_REFUSED)

    await asyncio.gather(*(client(user) for user in TENANTS))


if __name__ == "__main__":
    asyncio.run(requesting(*sys.argv[1:]))
