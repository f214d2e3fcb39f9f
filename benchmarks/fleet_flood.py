"""Heartbeats while a tenant lists without a pause, without and with config/cluster/heartbeats.yaml."""

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
CLIENTS = 100  # of the tenant, at once
PERIOD = 10.0


async def measure(count: int, seconds: float) -> None:
    for what, schema in (("without the flow schema", False), ("with it", True)):
        with ApiServer() as server:
            print(f"{count} hosts and a tenant's flood, {what}: {await _flooded(server, count, seconds, schema)}")
            sys.stdout.flush()


async def _flooded(server: ApiServer, count: int, seconds: float, schema: bool) -> str:
    hosts = Hosts(server, count, PERIOD, server.member_token)
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
    listing = {"apiGroups": ["workload.linkerd.io"], "resources": ["externalworkloads"], "verbs": ["list"]}
    server.grant(namespace, [listing])  # to the tenant
    base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "patch"]}
    server.must("POST", f"{base}/roles", {"metadata": {"name": "hosts"}, "rules": [rule]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "hosts"}
    group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "fairlead:hosts"}
    binding = {"metadata": {"name": "hosts"}, "roleRef": role, "subjects": [group]}
    server.must("POST", f"{base}/rolebindings", binding)


@contextmanager
def _flood(server: ApiServer, namespace: str) -> Iterator[None]:
    """From a process of its own: this one has to be in time for the renewals."""
    with tempfile.NamedTemporaryFile("w") as token:
        token.write(server.host_token)
        token.flush()
        words = (server.url, str(server.ca_file), namespace, token.name)
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.fleet_flood", *words], env={**os.environ})
        try:
            yield
        finally:
            process.kill()
            process.wait()


async def requesting(url: str, ca_file: str, namespace: str, token_file: str) -> None:
    async def client() -> None:
        caller = Caller(TokenFile(url, ca_file, token_file), "flood", 60.0, 60.0)
        while True:
            with suppress(Trouble):
                await caller.call("GET", WORKLOADS.format(namespace), Reason.API_REFUSED)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


if __name__ == "__main__":
    asyncio.run(requesting(*sys.argv[1:]))
