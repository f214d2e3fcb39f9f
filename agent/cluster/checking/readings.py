"""How each check of the two registries is read, by its name."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agent.adapters.kube.json_values import Json
from agent.cluster.checking import objects
from agent.cluster.checking.view import View
from agent.core.doctor.cluster import clients, neighbours, selecting
from agent.core.doctor.cluster.installed import COMPARED, Installed, Pair
from agent.core.doctor.cluster.seen import Workload
from agent.loops.checks import NotHere, Reader, Unread

_WITHOUT = {
    "watcher.yaml": "no watcher can mark a dead host",
    "admission.yaml": "only its Role keeps a host from other objects",
    "heartbeats.yaml": "a noisy user of the API server can delay renewals until hosts look dead",
}


def of_cluster(
    view: View, shipped: Callable[[str], Sequence[Json]], alive: Callable[[], Awaitable[bool | None]]
) -> Mapping[str, Reader]:
    """`shipped`: the objects of a file in config/cluster; raises Unread. `alive`: whether a watcher runs."""
    return {
        "api-server": view.version,
        "kind": lambda: _served(view),
        "control-plane": lambda: _version(view),
        "watcher": lambda: _alive(alive),
        "watcher-rights": lambda: _installed(view, shipped, "watcher.yaml"),
        "admission": lambda: _installed(view, shipped, "admission.yaml"),
        "flow-schema": lambda: _installed(view, shipped, "heartbeats.yaml"),
        "patterns": lambda: _patterns(view),
    }


async def _served(view: View) -> bool:
    try:
        await view.workloads()
    except NotHere:
        return False
    return True


async def _version(view: View) -> str:
    found = (await view.values()).get("linkerdVersion")
    return found if isinstance(found, str) else ""


async def _alive(alive: Callable[[], Awaitable[bool | None]]) -> bool:
    found = await alive()
    if found is None:
        raise Unread("this user may not read the Lease of the watcher")
    return found


async def _installed(view: View, shipped: Callable[[str], Sequence[Json]], file: str) -> Installed:
    bodies = [body for body in shipped(file) if body["kind"] in COMPARED]
    return Installed(file, [Pair(body, await view.live(body)) for body in bodies], _WITHOUT[file])


async def _patterns(view: View) -> list[Any]:
    return [one for one in await view.authentications() if not one.networks]


def of_host(view: View, workload: Workload) -> Mapping[str, Reader]:
    namespace = workload.namespace

    async def selected() -> selecting.Selected:
        return selecting.Selected(workload, await view.services(namespace))

    async def guarded() -> clients.Guarded:
        default = str((await _proxy_values(view)).get("defaultInboundPolicy") or "")
        servers, policies = await view.servers(namespace), await view.policies(namespace)
        return clients.Guarded(workload, servers, policies, default)

    return {
        "ready": lambda: _published(view, workload),
        "services": selected,
        "service-ports": selected,
        "slices": lambda: _sliced(view, workload),
        "unique": lambda: _neighbours(view, workload),
        "servers": guarded,
        "clients": guarded,
        "source": lambda: _source(view, workload),
    }


async def _published(view: View, workload: Workload) -> selecting.Published:
    return selecting.Published(workload, await view.lease(workload))


async def _sliced(view: View, workload: Workload) -> selecting.Sliced:
    services = selecting.Selected(workload, await view.services(workload.namespace)).selecting
    slices = await view.slices(workload.namespace)
    return selecting.Sliced(
        workload, {one.name: objects.ready_flag(slices, one.name, workload) for one in services}
    )


async def _neighbours(view: View, workload: Workload) -> neighbours.Neighbours:
    return neighbours.Neighbours(workload, [one for one in await view.workloads() if one.uid != workload.uid])


async def _proxy_values(view: View) -> Mapping[str, Any]:
    found = (await view.values()).get("proxy")
    return found if isinstance(found, dict) else {}


async def _source(view: View, workload: Workload) -> clients.Source:
    networks = (await view.values()).get("clusterNetworks")
    default = str((await _proxy_values(view)).get("defaultInboundPolicy") or "")
    split = networks.split(",") if isinstance(networks, str) else []
    return clients.Source(workload, default, [one.strip() for one in split if one.strip()])
