"""The cluster as one run sees it: each list is read once, when it is first asked for."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from agent.adapters.kube.json_values import Json, part, text
from agent.adapters.kube.objects import Absent, Objects
from agent.cluster.checking import objects
from agent.core.doctor.cluster import seen
from agent.core.reasons import Reason
from agent.loops.checks import NotHere, Unread
from agent.ports import Trouble

T = TypeVar("T")
_POLICY = "/apis/policy.linkerd.io"
SERVER_VERSIONS = ("v1beta3", "v1beta2", "v1beta1")
# Kind → API group and version, and plural.
_SHIPPED = {
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ValidatingAdmissionPolicy": ("/apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": (
        "/apis/admissionregistration.k8s.io/v1",
        "validatingadmissionpolicybindings",
    ),
    "PriorityLevelConfiguration": ("/apis/flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations"),
    "FlowSchema": ("/apis/flowcontrol.apiserver.k8s.io/v1", "flowschemas"),
}


class View:
    """All methods raise Trouble, Unread (no right), NotHere (no such kind). `linkerd`: its namespace. `wall`:
    seconds since the epoch."""

    def __init__(self, api: Objects, linkerd: str, wall: Callable[[], float]) -> None:
        self._api, self._linkerd, self._wall = api, linkerd, wall
        self._reading: dict[str, asyncio.Task[Any]] = {}

    async def close(self) -> None:
        for task in self._reading.values():
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)

    async def version(self) -> str:
        found = await self._once("/version", lambda: self._api.get("/version"))
        return text(found or {}, "gitVersion")

    async def workloads(self) -> list[seen.Workload]:
        bodies = await self._list("/apis/workload.linkerd.io/v1beta1/externalworkloads")
        return [objects.workload(body) for body in bodies]

    async def lease(self, workload: seen.Workload) -> seen.Lease | None:
        bodies = await self._list(f"/apis/coordination.k8s.io/v1/namespaces/{workload.namespace}/leases")
        found = (body for body in bodies if text(part(body, "metadata"), "name") == workload.name)
        body = next(found, None)
        return None if body is None else objects.lease(body, self._wall())

    async def services(self, namespace: str) -> list[seen.Service]:
        return [objects.service(body) for body in await self._list(f"/api/v1/namespaces/{namespace}/services")]

    async def slices(self, namespace: str) -> list[Json]:
        return await self._list(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")

    async def servers(self, namespace: str) -> list[seen.Server]:
        for version in SERVER_VERSIONS:
            with contextlib.suppress(NotHere):
                bodies = await self._list(f"{_POLICY}/{version}/namespaces/{namespace}/servers")
                return [objects.server(body) for body in bodies]
        raise NotHere("the cluster has no kind Server")

    async def authentications(self) -> list[seen.Authentication]:
        """Of all namespaces: a policy may name one of another."""
        found: list[seen.Authentication] = []
        for kind, plural in (
            ("MeshTLSAuthentication", "meshtlsauthentications"),
            ("NetworkAuthentication", "networkauthentications"),
        ):
            with contextlib.suppress(NotHere):
                bodies = await self._list(f"{_POLICY}/v1alpha1/{plural}")
                found += [objects.authentication(body, kind) for body in bodies]
        return found

    async def policies(self, namespace: str) -> list[seen.Policy]:
        known = await self.authentications()
        with contextlib.suppress(NotHere):
            bodies = await self._list(f"{_POLICY}/v1alpha1/namespaces/{namespace}/authorizationpolicies")
            return [objects.policy(body, known) for body in bodies]
        return []

    async def values(self) -> Mapping[str, Any]:
        """Linkerd's values, as its installation left them."""
        path = f"/api/v1/namespaces/{self._linkerd}/configmaps/linkerd-config"
        body = await self._once(path, lambda: self._api.get(path))
        return _tree(text(part(body or {}, "data"), "values"))

    async def live(self, shipped: Json) -> Json | None:
        """The object of the cluster that has this one's kind and name."""
        group, plural = _SHIPPED[shipped["kind"]]
        path = f"{group}/{plural}/{shipped['metadata']['name']}"
        return await self._once(path, lambda: self._api.get(path))

    async def _list(self, path: str) -> list[Json]:
        async def read() -> list[Json]:
            return [body async for body in self._api.items(path)]

        try:
            return await self._once(path, read)
        except Absent:
            raise NotHere(f"the cluster has no {path.rpartition('/')[2]}") from None

    async def _once(self, key: str, read: Callable[[], Awaitable[T]]) -> T:
        """A check that is cut off leaves the reading to others."""
        if key not in self._reading:
            self._reading[key] = asyncio.ensure_future(read())
        try:
            found: T = await asyncio.shield(self._reading[key])
        except Trouble as trouble:
            if trouble.reason is Reason.API_FORBIDDEN:
                raise Unread(f"{trouble.detail}; {trouble.fault.way_out}") from None
            raise
        return found


def _tree(document: str) -> Mapping[str, Any]:
    import yaml

    try:
        tree = yaml.safe_load(document)
    except yaml.YAMLError:
        return {}
    return tree if isinstance(tree, dict) else {}
