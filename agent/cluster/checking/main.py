"""One run: the cluster's checks, then those of each host that is asked about."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agent.adapters.kube.json_values import Json
from agent.adapters.kube.objects import Objects
from agent.cluster.checking import readings
from agent.cluster.checking.view import View
from agent.cluster.enrolment.access import kubeconfig
from agent.cluster.enrolment.refused import refused
from agent.cluster.listing import main as listing
from agent.core.doctor import cluster_checks
from agent.core.doctor.check import Check, Finding, Result
from agent.core.doctor.cluster.seen import Workload
from agent.host import manifests, reading
from agent.loops import checks
from agent.loops.checks import NotHere, Unread
from agent.ports import Trouble

_FIRST = ("api-server", "kind")  # without these there is nothing to say about hosts


@dataclass(frozen=True)
class Question:
    """Which hosts: "" for any. `watcher`: the namespace of its Lease. `kubeconfig`, `context`: "" as kubectl."""

    name: str = ""
    namespace: str = ""
    group: str = ""
    linkerd: str = "linkerd"
    watcher: str = "fairlead-system"
    kubeconfig: str = ""
    context: str = ""
    each: float = 10.0  # seconds for one check

    def wants(self, one: Workload) -> bool:
        return all(
            asked in ("", found)
            for asked, found in (
                (self.name, one.name),
                (self.namespace, one.namespace),
                (self.group, one.group),
            )
        )


@dataclass(frozen=True)
class Report:
    """`hosts`: by NAMESPACE/NAME."""

    cluster: Sequence[Finding]
    hosts: Mapping[str, Sequence[Finding]] = field(default_factory=dict)


def examine(question: Question) -> Report:
    """Raises Refused."""
    return asyncio.run(_examine(question))


async def _examine(question: Question) -> Report:
    async with _connected(question) as (api, view):

        async def alive() -> bool | None:
            return (await listing.watcher(api, question.watcher))[0]

        limits = checks.Limits(question.each, 6 * question.each)
        found = readings.of_cluster(view, shipped, alive)
        cluster = await checks.run(cluster_checks.CLUSTER, found, limits, _none)
        if any(one.check.name in _FIRST and one.outcome.result is not Result.OK for one in cluster):
            return Report(cluster)
        return Report(cluster, await _hosts(question, view, limits))


async def _hosts(question: Question, view: View, limits: checks.Limits) -> Mapping[str, Sequence[Finding]]:
    hosts = sorted(filter(question.wants, await view.workloads()), key=lambda one: one.label)
    if question.name and not hosts:
        where = f" in the namespace {question.namespace}" if question.namespace else ""
        raise refused(f"there is no ExternalWorkload {question.name}{where}", "fairlead list shows all")
    found: dict[str, Sequence[Finding]] = {}
    for one in hosts:
        found[one.label] = await checks.run(cluster_checks.HOST, readings.of_host(view, one), limits, _none)
    return found


def _none(check: Check) -> str:
    return ""


@asynccontextmanager
async def _connected(question: Question) -> AsyncIterator[tuple[Objects, View]]:
    api = Objects(kubeconfig(question.kubeconfig, question.context), "fairlead-check")
    view = View(api, question.linkerd, time.time)
    try:
        yield api, view
    except Trouble as trouble:
        raise refused(trouble.detail, trouble.fault.way_out) from None
    except (NotHere, Unread) as error:
        raise refused(str(error), "see config/cluster/operator.yaml for what an operator may read") from None
    finally:
        await view.close()
        await api.close()


def shipped(file: str) -> list[Json]:
    """The objects of a file in config/cluster, as this version has it. Raises Unread."""
    import yaml

    path = manifests() / file
    try:
        return [body for body in yaml.safe_load_all(reading.text(path, reading.DOCUMENT, links=True)) if body]
    except OSError as error:
        raise Unread(f"the manifests of this version are not here: {path}: {error.strerror}") from None
