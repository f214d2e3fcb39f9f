"""A stand-in for Linkerd's writer of EndpointSlices (docs/linkerd.md §6.1), for an API server where none runs.

For one Service: every ExternalWorkload of its namespace that its selector matches is an endpoint, ready as its
Ready condition says; one that is not ready stays listed, with ready=false. It follows a watch, and like the real
one it writes the latest state, not each step.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

import aiohttp

Json = dict[str, Any]

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
WRITER = "linkerd-external-workloads-controller"
RETRY = 0.2  # seconds; before it retries an unreachable server
_MERGE = {"Content-Type": "application/merge-patch+json"}


class SliceWriter:
    """`session`: to the API server, by base URL, with the right to list and watch ExternalWorkloads and to write
    EndpointSlices. `selector`: labels. `delay`: seconds from a change to its slice; may be changed at any time."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        namespace: str,
        service: str,
        selector: Mapping[str, str],
        delay: float = 0.0,
    ) -> None:
        self._session, self._namespace, self._service = session, namespace, service
        self._selector, self.delay = selector, delay
        self._workloads: dict[str, Json] = {}
        self._news, self._hurry = asyncio.Event(), asyncio.Event()

    def hurry(self) -> None:
        """Write now, and from now on without delay."""
        self.delay = 0.0
        self._hurry.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._write())

    async def _follow(self) -> None:
        path = f"/apis/workload.linkerd.io/v1beta1/namespaces/{self._namespace}/externalworkloads"
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with self._session.get(path) as answer:
                    answer.raise_for_status()
                    there = await answer.json()
                self._workloads = {body["metadata"]["name"]: body for body in there["items"]}
                self._news.set()
                await self._watch(path, there["metadata"]["resourceVersion"])
            await asyncio.sleep(RETRY)

    async def _watch(self, path: str, version: str) -> None:
        forever = aiohttp.ClientTimeout(total=None)
        query = {"watch": "1", "resourceVersion": version}
        async with self._session.get(path, params=query, timeout=forever) as answer:
            answer.raise_for_status()
            try:
                await self._hear(answer.content)
            finally:
                if answer.connection is not None and answer.connection.transport is not None:
                    answer.connection.transport.abort()  # a TLS shutdown would wait for the peer

    async def _hear(self, lines: aiohttp.StreamReader) -> None:
        async for line in lines:
            event = json.loads(line)
            if event["type"] == "ERROR":
                return
            name = event["object"]["metadata"]["name"]
            if event["type"] == "DELETED":
                self._workloads.pop(name, None)
            else:
                self._workloads[name] = event["object"]
            self._news.set()

    async def _write(self) -> None:
        while True:
            await self._news.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.delay):
                    await self._hurry.wait()
            self._news.clear()
            self._hurry.clear()
            try:
                for body in self._slices():
                    await self._put(body)
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(RETRY)
                self._news.set()

    def _slices(self) -> Iterator[Json]:
        """One for each IP family that any of them has."""
        mine = [w for w in self._workloads.values() if self._selector.items() <= _labels(w).items()]
        for family in ("IPv4", "IPv6"):
            yield {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"linkerd-external-{self._service}-{family.lower()}",
                    "namespace": self._namespace,
                    "labels": {MANAGED_BY: WRITER, "kubernetes.io/service-name": self._service},
                },
                "addressType": family,
                "endpoints": [endpoint for workload in mine for endpoint in _endpoints(workload, family)],
                "ports": [{"name": name, "port": port} for name, port in sorted(_ports(mine))],
            }

    async def _put(self, body: Json) -> None:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self._namespace}/endpointslices"
        async with self._session.post(path, json=body) as answer:
            if answer.status != 409:
                answer.raise_for_status()
                return
        change = json.dumps({"endpoints": body["endpoints"], "ports": body["ports"]})
        async with self._session.patch(
            f"{path}/{body['metadata']['name']}", data=change, headers=_MERGE
        ) as answer:
            answer.raise_for_status()


def ready(body: Json) -> list[str]:
    """The addresses that a client may choose from, by this EndpointSlice."""
    return [e["addresses"][0] for e in body.get("endpoints") or [] if e.get("conditions", {}).get("ready")]


def _labels(workload: Json) -> dict[str, str]:
    labels: dict[str, str] = workload["metadata"].get("labels", {})
    return labels


def _endpoints(workload: Json, family: str) -> Iterator[Json]:
    conditions = workload.get("status", {}).get("conditions", [])
    good = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    meta = workload["metadata"]
    for entry in workload["spec"].get("workloadIPs", []):
        if f"IPv{ip_address(entry['ip']).version}" == family:
            yield {
                "addresses": [entry["ip"]],
                "conditions": {"ready": good, "serving": good, "terminating": False},
                "targetRef": {
                    "kind": "ExternalWorkload",
                    "namespace": meta["namespace"],
                    "name": meta["name"],
                    "uid": meta["uid"],
                },
            }


def _ports(workloads: list[Json]) -> set[tuple[str, int]]:
    """The real one takes names from the Service, where they differ too."""
    return {(p.get("name", f"port-{p['port']}"), p["port"]) for w in workloads for p in w["spec"].get("ports", [])}
