"""WorkloadGroups: their members, and bringing those to a changed template."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from agent.adapters.kube.json_values import Json, part, text
from agent.adapters.kube.objects import Absent, Objects
from agent.cluster.enrolment.mesh import Given
from agent.cluster.enrolment.order import Order
from agent.cluster.enrolment.refused import Refused, by_the_server, refused
from agent.cluster.enrolment.writing import Writer, of_workload
from agent.core.enrol import group as core_group
from agent.core.enrol import objects, request
from agent.core.enrol.group import Group, problems
from agent.core.enrol.joining import Choices
from agent.core.enrol.request import Host, Problem
from agent.ports import Trouble


async def read(api: Objects, namespace: str, name: str) -> Group:
    """Raises Refused."""
    label = f"WorkloadGroup {namespace}/{name}"
    try:
        body = await api.get(core_group.path(namespace, name))
    except Trouble as trouble:
        raise by_the_server(f"read {label}", trouble) from None
    if body is None:
        remedy = "create it; its kind is in config/cluster/workloadgroup.yaml"
        raise refused(f"there is no {label}", remedy)
    return core_group.read(body)


def member(order: Order, given: Given, there: Host | None, group: Group | None) -> Host:
    """What the operator gave, else what the group has, else what is there, else the usual value."""

    def fill(template: str) -> str:
        return request.filled(template, order.name, order.namespace)

    usual = request.usual_server_name(
        order.name, order.namespace, given.linkerd, given.cluster_domain or "cluster.local"
    )
    templates = (group.identity, group.server_name) if group else ("", "")
    identity, server_name = (group.filled(one, order.name) if group else "" for one in templates)
    return Host(
        name=order.name,
        namespace=order.namespace,
        addresses=order.addresses or (there.addresses if there else ()),
        identity=fill(order.identity) or identity or (there.identity if there else ""),
        server_name=fill(order.server_name) or server_name or (there.server_name if there else usual),
        ports=order.ports or (group.ports if group else ()) or (there.ports if there else ()),
        labels={**group.labels, **order.labels} if group else order.labels or (there.labels if there else {}),
        annotations=group.annotations if group else {},
        api_identity=fill(order.api_identity)
        or (group.api_identity(order.name) if group else "")
        or (there.api_identity if there else ""),
        account=order.account if order.account is not None else bool(there and there.account),
        group=group.name if group else "",
        shared=bool(group and group.shared),
    )


def choices(given: Choices, group: Group | None) -> Choices:
    """The operator's, with those of the group where nothing was given. Raises Refused."""
    settings = group.settings if group else {}
    usual = Choices(())
    keys = {
        "audience": "audience",
        "workloadAPI": "workload_api",
        "destination": "destination",
        "policy": "policy",
        "leasePeriodSeconds": "lease_period",
    }
    found = {
        ours: settings[theirs]
        for theirs, ours in keys.items()
        if theirs in settings and getattr(given, ours) == getattr(usual, ours)
    }
    networks = given.pod_networks or tuple(settings.get("podNetworks", ()))
    if not networks:
        remedy = "give --pod-network CIDR, once for each network, or spec.host.podNetworks of the group"
        raise refused("the pod network of the cluster is not given", remedy)
    probes = group.probes if group else ()
    return dataclasses.replace(given, **found, pod_networks=networks, probes=probes)


@dataclass(frozen=True)
class Synced:
    changed: tuple[str, ...]
    members: int


async def sync(api: Objects, name: str, namespace: str, say: Callable[[str], None], *, dry: bool) -> Synced:
    """Bring each outdated member to the group's template. Raises Refused, after all others were done."""
    group = await read(api, namespace, name)
    writer = Writer(api, say, force=False, replace=False)
    changed: list[str] = []
    wrong: list[Problem] = []
    bodies = await _members(api, group)
    for body in bodies:
        if _current(body, group):
            continue
        label = text(part(body, "metadata"), "name")
        there = of_workload(body, label, namespace)
        host = member(Order(label, namespace), Given(), there, group)
        changed.append(label)
        if dry:
            continue
        try:
            if found := [*request.problems(host), *_unreachable_then(host, there)]:
                raise Refused(found)
            await writer.check(dataclasses.replace(host, addresses=there.addresses), None)
            await writer.write(host, body)
        except Refused as refusal:
            wrong += refusal.problems
    if not dry:
        await count(api, group)
    if wrong:
        raise Refused(wrong)
    return Synced(tuple(changed), len(bodies))


def _unreachable_then(host: Host, there: Host) -> list[Problem]:
    """What peers verify must change together with the host's own configuration."""
    if (host.identity, host.server_name) == (there.identity, there.server_name):
        return []
    cause = (
        f"ExternalWorkload {host.label} has {there.identity}, {there.server_name}, and the group's template others"
    )
    return [Problem(cause, "enrol it again with --replace, and join with the new bundle")]


async def count(api: Objects, group: Group) -> None:
    """Into the group's status. Raises Refused."""
    bodies = await _members(api, group)
    outdated = sum(not _current(body, group) for body in bodies)
    status = {"members": len(bodies), "outdated": outdated, "observedGeneration": group.generation}
    try:
        await api.patch(f"{core_group.path(group.namespace, group.name)}/status", {"status": status})
    except (Trouble, Absent) as trouble:
        label = f"WorkloadGroup {group.namespace}/{group.name}"
        remedy = "the members are written; run the command again"
        raise refused(f"cannot write the status of {label}: {trouble}", remedy) from None


async def _members(api: Objects, group: Group) -> list[Json]:
    path = objects.collection(objects.WORKLOADS, "ExternalWorkload", group.namespace)
    try:
        return [one async for one in api.items(path, {"labelSelector": f"{core_group.LABEL}={group.name}"})]
    except Trouble as trouble:
        raise by_the_server(f"list the members of {group.namespace}/{group.name}", trouble) from None


def _current(body: Json, group: Group) -> bool:
    return text(part(part(body, "metadata"), "annotations"), core_group.HASH) == group.digest


__all__ = ["Synced", "choices", "count", "member", "problems", "read", "sync"]
