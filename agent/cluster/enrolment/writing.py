"""Makes the objects of one host. Each step may be repeated: what is there already is completed."""

import contextlib
import re
from collections.abc import AsyncIterator, Callable

from agent.adapters.kube import json_values
from agent.adapters.kube.json_values import Json, part, parts, text
from agent.adapters.kube.objects import Absent, Objects
from agent.cluster.enrolment.refused import Refused, by_the_server, refused
from agent.core import addresses, opaque
from agent.core.enrol import objects as wanted
from agent.core.enrol.conflicts import Other, Pod, conflicts
from agent.core.enrol.group import LABEL
from agent.core.enrol.request import Host, Port, Problem
from agent.core.machines import MACHINE
from agent.core.reasons import Reason
from agent.ports import Trouble

MANAGER = "fairlead-enrol"
_WORKLOADS = "/apis/workload.linkerd.io/v1beta1/externalworkloads"
_PODS = "/api/v1/pods"
_OVER = ("Succeeded", "Failed")
_NO_KIND = (
    "the cluster has no ExternalWorkload (workload.linkerd.io/v1beta1)",
    "install Linkerd 2.16 or later: its CRDs bring this kind",
)


class Writer:
    """`say`: one line for each object that was written. `force`: take fields over from another manager. `replace`:
    the host of this name may become another one."""

    def __init__(self, api: Objects, say: Callable[[str], None], *, force: bool, replace: bool) -> None:
        self._api, self._say, self._force, self._replace = api, say, force, replace

    async def existing(self, namespace: str, name: str) -> Json | None:
        """The ExternalWorkload of this name. Raises Refused."""
        path = f"{wanted.collection(wanted.WORKLOADS, 'ExternalWorkload', namespace)}/{name}"
        try:
            return await self._api.get(path)
        except Trouble as trouble:
            raise by_the_server(f"read ExternalWorkload {namespace}/{name}", trouble) from None

    async def check(self, host: Host, found: Json | None) -> None:
        """That no other object has what this host is to have. Raises Refused, with every problem."""
        try:
            others = [other async for other in self._others()]
            pods = [pod for address in host.addresses async for pod in self._pods(address)]
        except Absent:
            raise refused(*_NO_KIND) from None
        except Trouble as trouble:
            raise by_the_server("list ExternalWorkloads and pods of all namespaces", trouble) from None
        problems = list(conflicts(host, others, pods))
        if found is not None and not self._replace:
            problems += [*_other_host(host, found), *_retiring(host, found)]
        if problems:
            raise Refused(problems)

    async def _others(self) -> AsyncIterator[Other]:
        async for body in self._api.items(_WORKLOADS):
            meta, found = part(body, "metadata"), json_values.workload(body)
            yield Other(
                namespace=text(meta, "namespace"),
                name=text(meta, "name"),
                addresses=found.addresses,
                ports=found.ports,
                identity=found.identity,
                group=text(part(meta, "labels"), LABEL),
            )

    async def _pods(self, address: str) -> AsyncIterator[Pod]:
        query = {"fieldSelector": f"status.podIP={addresses.address(address)}"}
        async for body in self._api.items(_PODS, query):
            if text(part(body, "status"), "phase") not in _OVER:
                yield _pod(body, address)

    async def write(self, host: Host, found: Json | None) -> str:
        """Returns the ExternalWorkload's uid. Raises Refused."""
        body = wanted.workload(host)
        if found is None:
            await self._create(body)
        else:
            found = await self._readmitted(host, found)
            body["metadata"]["resourceVersion"] = text(part(found, "metadata"), "resourceVersion")
        uid = text(part(await self._apply(body), "metadata"), "uid")
        lease, *others = wanted.beside_the_workload(host, uid)
        await self._check_lease(lease)
        for one in (lease, *others):
            await self._apply(one)
        return uid

    async def _readmitted(self, host: Host, found: Json) -> Json:
        """Without the marks of a retirement; with `replace` for another machine too. Raises Refused."""
        if not self._replace:
            return found
        marks = {"metadata": {"annotations": dict.fromkeys((wanted.RETIRE, wanted.DRAINED, MACHINE))}}
        try:
            with contextlib.suppress(Absent):
                await self._api.patch(wanted.path(wanted.lease(host, "")), marks)
            return await self._api.patch(wanted.path(wanted.workload(host)), marks)
        except (Absent, Trouble) as error:
            raise refused(f"cannot enrol {host.label} again: {error}", "run the command again") from None

    async def try_out(self, host: Host) -> list[Json]:
        """The objects, after the server has judged the ExternalWorkload; nothing is written. Raises Refused."""
        found = await self.existing(host.namespace, host.name)
        await self._apply(wanted.workload(host), dry=True)
        uid = "" if found is None else text(part(found, "metadata"), "uid")
        return [wanted.workload(host), *wanted.beside_the_workload(host, uid)]

    async def _create(self, body: Json) -> None:
        """By a request that fails where another operator was faster: two hosts never share a name."""
        path = wanted.path(body).rpartition("/")[0]
        try:
            await self._api.create(path, body)
        except Absent:
            raise refused(f"there is no namespace {body['metadata']['namespace']}", "create it first") from None
        except Trouble as trouble:
            if trouble.reason is Reason.API_CONFLICT:
                cause = f"{wanted.title(body)} was created by another program just now"
                raise refused(cause, "run the command again: it compares both") from None
            raise by_the_server(f"create {wanted.title(body)}", trouble) from None

    async def _apply(self, body: Json, *, dry: bool = False) -> Json:
        title = wanted.title(body)
        try:
            answer = await self._applied(body, dry)
        except Absent as absent:
            raise refused(f"cannot write {title}: {absent}", "see that namespace and kind exist") from None
        except Trouble as trouble:
            if trouble.reason is Reason.API_CONFLICT:
                remedy = "change it there, or take these fields over: --force"
                raise refused(f"cannot write {title}: {trouble.detail}", remedy) from None
            raise by_the_server(f"write {title}", trouble) from None
        if not dry:
            self._say(title)
        return answer

    async def _applied(self, body: Json, dry: bool) -> Json:
        path = wanted.path(body)
        try:
            return await self._api.apply(path, body, force=self._force, dry=dry)
        except Trouble as trouble:
            if trouble.reason is not Reason.API_CONFLICT or managers(trouble.detail) != {MANAGER}:
                raise
        # What an earlier run created. Its fields are ours.
        return await self._api.apply(path, body, force=True, dry=dry)

    async def _check_lease(self, lease: Json) -> None:
        """A Lease of this name may be another program's. Raises Refused."""
        try:
            found = await self._api.get(wanted.path(lease))
        except Trouble as trouble:
            raise by_the_server(f"read {wanted.title(lease)}", trouble) from None
        meta = part(found or {}, "metadata")
        marked = {**part(meta, "labels"), **part(meta, "annotations")}
        ours = wanted.HOST in marked or wanted.MANAGED_BY.items() <= marked.items()
        if found is not None and not ours:
            holder = text(part(found, "spec"), "holderIdentity") or "another program"
            cause = f"{wanted.title(lease)} exists and is used by {holder}"
            raise refused(cause, "give the host another name")


def managers(detail: str) -> set[str]:
    """The managers that a conflict names."""
    return set(re.findall(r'conflicts? with "([^"]+)"', detail))


def of_workload(body: Json, name: str, namespace: str) -> Host:
    """The host as an ExternalWorkload describes it."""
    meta, found = part(body, "metadata"), json_values.workload(body)
    ports = parts(part(body, "spec"), "ports")
    opaque_ports = opaque.within(found.ports, found.opaque)
    user = text(part(meta, "annotations"), wanted.HOST)
    return Host(
        name=name,
        namespace=namespace,
        addresses=found.addresses,
        identity=found.identity,
        server_name=found.server_name,
        ports=tuple(
            Port(one["port"], text(one, "name"), one["port"] in opaque_ports)
            for one in ports
            if isinstance(one.get("port"), int)
        ),
        labels={key: value for key, value in part(meta, "labels").items() if isinstance(value, str)},
        api_identity=user if user.startswith("spiffe://") else "",
        account=user.startswith("system:serviceaccount:"),
        group=text(part(meta, "labels"), LABEL),
    )


def _other_host(host: Host, found: Json) -> list[Problem]:
    """An ExternalWorkload of this name that describes another host."""
    there = of_workload(found, host.name, host.namespace)
    named, remedy = f"ExternalWorkload {host.label}", "give the new host another name, or move this one: --replace"
    problems = []
    if {*map(addresses.comparable, there.addresses)} != {*map(addresses.comparable, host.addresses)}:
        cause = f"{named} exists with {', '.join(there.addresses)}, not {', '.join(host.addresses)}"
        problems.append(Problem(cause, remedy))
    if there.identity != host.identity:
        problems.append(Problem(f"{named} exists with the identity {there.identity}", remedy))
    return problems


def _retiring(host: Host, found: Json) -> list[Problem]:
    if wanted.RETIRE not in part(part(found, "metadata"), "annotations"):
        return []
    remedy = "finish it: fairlead retire; or enrol the host again: --replace"
    return [Problem(f"ExternalWorkload {host.label} is being retired", remedy)]


def _pod(body: Json, address: str) -> Pod:
    meta, spec = part(body, "metadata"), part(body, "spec")
    declared = [port for container in parts(spec, "containers") for port in parts(container, "ports")]
    on_node = spec.get("hostNetwork") is True
    ports = tuple(one["containerPort"] for one in declared if isinstance(one.get("containerPort"), int))
    return Pod(text(meta, "namespace"), text(meta, "name"), address, ports if on_node else None)
