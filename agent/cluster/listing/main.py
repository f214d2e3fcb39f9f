"""Reads the fleet, and whether a watcher runs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent.adapters.kube import json_values
from agent.adapters.kube.fleet import NOT_OF_NODES
from agent.adapters.kube.json_values import Json, part, text
from agent.adapters.kube.objects import Absent, Objects
from agent.cluster.enrolment.access import kubeconfig
from agent.cluster.enrolment.refused import refused
from agent.cluster.listing import rows
from agent.cluster.watcher import process
from agent.core.reasons import Reason
from agent.core.watch.fleet import ALL, GROUP, Name
from agent.core.watch.guard import Pace
from agent.ports import Trouble

LEASES = "/apis/coordination.k8s.io/v1"
GROUPS = "/apis/workload.fairlead.dev/v1beta1"
WORKLOADS = "/apis/workload.linkerd.io/v1beta1"
# A watcher renews its own Lease every 2 s: seconds after which another reading has to show a change of it.
AGAIN = 5.0


@dataclass(frozen=True)
class Question:
    """`namespace`: "" for all. `watcher`: the namespace of its Lease. `kubeconfig`, `context`: "" as kubectl."""

    namespace: str = ALL
    group: str = ""
    watcher: str = "fairlead-system"
    kubeconfig: str = ""
    context: str = ""


@dataclass(frozen=True)
class Answer:
    """`watched`: a watcher renews its Lease. None: this user may not read it."""

    rows: tuple[rows.Row, ...]
    watched: bool | None


def ask(question: Question) -> Answer:
    """Raises Refused."""
    return asyncio.run(_ask(question))


async def _ask(question: Question) -> Answer:
    async with _connected(question) as api:
        selected = {"labelSelector": f"{GROUP}={question.group}"} if question.group else {}
        try:
            workloads = await _all(api, _path(WORKLOADS, question.namespace, "externalworkloads"), selected)
        except Absent:
            remedy = "install Linkerd 2.16 or later: its CRDs bring this kind"
            raise refused("the cluster has no ExternalWorkload", remedy) from None
        others = {} if question.namespace else {"fieldSelector": NOT_OF_NODES}
        leases = await _all(api, _path(LEASES, question.namespace, "leases"), others)
        groups = await _groups(api, question.namespace)
        watched, paces = await watcher(api, question.watcher)
        return Answer(tuple(rows.rows(workloads, leases, groups, paces, time.time())), watched)


@asynccontextmanager
async def _connected(question: Question) -> AsyncIterator[Objects]:
    api = Objects(kubeconfig(question.kubeconfig, question.context), "fairlead-list")
    try:
        yield api
    except Trouble as trouble:
        raise refused(trouble.detail, trouble.fault.way_out) from None
    finally:
        await api.close()


async def _all(api: Objects, path: str, query: dict[str, str]) -> dict[Name, Json]:
    return {json_values.name(item): item async for item in api.items(path, query)}


async def _groups(api: Objects, namespace: str) -> dict[Name, Json]:
    """None where the cluster has no such kind, or this user may not read it."""
    try:
        return await _all(api, _path(GROUPS, namespace, "workloadgroups"), {})
    except Absent:
        return {}
    except Trouble as trouble:
        if trouble.reason is Reason.API_FORBIDDEN:
            return {}
        raise


async def watcher(api: Objects, namespace: str) -> tuple[bool | None, dict[str, Pace]]:
    """Whether its Lease changes (None: this user may not read it), and what it says of zones."""
    try:
        return await _observed(api, f"{_path(LEASES, namespace, 'leases')}/{process.LEASE}")
    except Trouble as trouble:
        if trouble.reason is Reason.API_FORBIDDEN:
            return None, {}
        raise


async def _observed(api: Objects, path: str) -> tuple[bool, dict[str, Pace]]:
    lease = await api.get(path)
    if lease is None or not text(part(lease, "spec"), "holderIdentity"):
        return False, {}
    at = rows.moment(text(part(lease, "spec"), "renewTime"))
    if at is None or abs(time.time() - at) > AGAIN:  # its clock or this one may be wrong: look twice
        await asyncio.sleep(AGAIN)
        again = await api.get(path)
        if again is None or _version(again) == _version(lease):
            return False, {}
        lease = again
    return True, _paces(lease)


def _paces(lease: Json) -> dict[str, Pace]:
    try:
        return rows.paces(text(part(part(lease, "metadata"), "annotations"), process.PACES))
    except ValueError:
        return {}  # another program's, or a later version's


def _version(lease: Json) -> str:
    return text(part(lease, "metadata"), "resourceVersion")


def _path(group: str, namespace: str, resource: str) -> str:
    return f"{group}/namespaces/{namespace}/{resource}" if namespace else f"{group}/{resource}"
