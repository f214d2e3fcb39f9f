"""The clusters that the suite of the StatusApi port runs in: in memory, embedded, and a real kube-apiserver.

A world is what others see and do there; its `api` is the host's own view. The real one has no more rights
than config/cluster/host.yaml gives.
"""

import asyncio
import json
import ssl
import string
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import pytest

from agent.adapters.kube import KubeApi, TokenFile
from agent.core.facts import Condition, Workload
from agent.core.reasons import Reason
from agent.ports import Lease, StatusApi, Trouble
from agent.sandbox.api.schema import EXTERNAL_WORKLOAD_CRD
from agent.sandbox.api.server import EXTERNAL_WORKLOADS, RESOURCES, ApiServer
from agent.sandbox.identity.ca import Authority
from tests.fakes.status_api import MemoryStatusApi

if TYPE_CHECKING:
    from tests.lab.realparts import ApiServer as RealApiServer

Json = dict[str, Any]

NAME = "vm-1"
HOST_MANIFESTS = Path(__file__).parents[2] / "config" / "cluster" / "host.yaml"
TOO_OLD = "1"  # no server that has just started knows what was at its first revision
WORKLOAD = Workload(
    uid="",
    resource_version="",
    identity="spiffe://example.org/vm-1",
    server_name="vm-1.example.org",
    addresses=("192.0.2.7", "2001:db8::7"),
    ports=(8080, 9090),
)
SPEC: Json = {
    "meshTLS": {"identity": WORKLOAD.identity, "serverName": WORKLOAD.server_name},
    "workloadIPs": [{"ip": address} for address in WORKLOAD.addresses],
    "ports": [{"port": port} for port in WORKLOAD.ports],
}


class World(Protocol):
    @property
    def api(self) -> StatusApi: ...

    async def create(self) -> None: ...

    async def edit(self) -> None:
        """Another client removes the last port."""
        ...

    async def delete(self) -> None: ...

    async def create_lease(self, annotations: Mapping[str, str]) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.api = MemoryStatusApi()

    async def create(self) -> None:
        self.api.create(WORKLOAD)

    async def edit(self) -> None:
        self.api.edit(ports=WORKLOAD.ports[:1])

    async def delete(self) -> None:
        self.api.delete()

    async def create_lease(self, annotations: Mapping[str, str]) -> None:
        self.api.lease = Lease(annotations=annotations)


@dataclass(frozen=True)
class Answer:
    status: int
    body: Json

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))

    @property
    def fields(self) -> list[str]:
        """Of an invalid object: the fields that are named."""
        return sorted(cause["field"] for cause in self.body["details"]["causes"])


class HttpWorld:
    """A cluster behind a URL. `token_file` is the host's; `host_token` what belongs in it."""

    def __init__(self, url: str, ca_file: Path, admin_token: str, namespace: str, token_file: Path) -> None:
        self.url, self.ca_file, self.namespace, self.token_file = url, ca_file, namespace, token_file
        self.workloads = f"/apis/workload.linkerd.io/v1beta1/namespaces/{namespace}/externalworkloads"
        self.leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self.admin_token, self.host_token = admin_token, ""
        self.api = self.client()
        self._admin = aiohttp.ClientSession(
            url,
            headers={"Authorization": f"Bearer {admin_token}"},
            connector=aiohttp.TCPConnector(ssl=self.tls()),
        )

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))

    def client(self, **other: Any) -> KubeApi:
        """The host's own view; closed with the world only where it is `api`."""
        standard = {
            "server": self.url,
            "ca_file": str(self.ca_file),
            "token_file": str(self.token_file),
        }
        files = {key: other.pop(key, value) for key, value in standard.items()}
        more = {"namespace": self.namespace, "name": NAME, "watch_seconds": 30, **other}
        return KubeApi(more.pop("credential", None) or TokenFile(**files), **more)

    def trust(self, token: str) -> None:
        self.host_token = token
        self.token_file.write_text(token + "\n")

    async def close(self) -> None:
        await self.api.close()
        await self._admin.close()

    # other clients -----------------------------------------------------------------------------

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str = "",
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call as administrator. `body`: an object, or text as it stands."""
        data = body if isinstance(body, str) else None if body is None else json.dumps(body)
        kind = content_type or ("application/merge-patch+json" if method == "PATCH" else "application/json")
        headers = {} if data is None else {"Content-Type": kind}
        async with self._admin.request(method, path, data=data, headers=headers, params=query) as response:
            return Answer(response.status, json.loads(await response.read()))

    async def lines(self, path: str, query: Mapping[str, str]) -> list[bytes]:
        """The lines of an answer that the server ends."""
        async with self._admin.get(path, params=query) as response:
            assert response.status == 200
            return (await response.read()).splitlines()

    async def must(self, method: str, path: str, body: object = None, content_type: str = "") -> Json:
        answer = await self.ask(method, path, body, content_type)
        assert answer.status < 300, answer.body
        return answer.body

    async def create(self) -> None:
        await self.must("POST", self.workloads, manifest(self.namespace))

    async def edit(self) -> None:
        await self.patch({"spec": {"ports": SPEC["ports"][:1]}})

    async def delete(self) -> None:
        await self.must("DELETE", f"{self.workloads}/{NAME}")

    async def create_lease(self, annotations: Mapping[str, str]) -> None:
        await self.must("POST", self.leases, lease(self.namespace, annotations))

    async def serve(self, *, kind: bool = True, status: bool = True) -> None:
        """The CRD is changed: it has no v1beta1, or one without /status. Returns when that is in force."""
        raise NotImplementedError

    async def raw(self) -> Json:
        return await self.must("GET", f"{self.workloads}/{NAME}")

    async def patch(self, change: Json, subresource: str = "") -> Json:
        return await self.must("PATCH", f"{self.workloads}/{NAME}{subresource}", change)


def manifest(namespace: str, name: str = NAME, **spec: object) -> Json:
    return {
        "apiVersion": "workload.linkerd.io/v1beta1",
        "kind": "ExternalWorkload",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "shop"}},
        "spec": {**SPEC, **spec},
    }


def lease(namespace: str, annotations: Mapping[str, str]) -> Json:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NAME, "namespace": namespace, "annotations": dict(annotations)},
    }


# embedded -----------------------------------------------------------------------------------------


class EmbeddedWorld(HttpWorld):
    def __init__(self, server: ApiServer, ca_file: Path, token_file: Path) -> None:
        super().__init__(server.url, ca_file, "admin-token", "hosts", token_file)
        self.server = server

    async def serve(self, *, kind: bool = True, status: bool = True) -> None:
        self.server.served = frozenset(RESOURCES) - (frozenset() if kind else {EXTERNAL_WORKLOADS})
        self.server.store.apart = status


def server_tls(authority: Authority, names: Sequence[str], folder: Path, *window: float) -> ssl.SSLContext:
    made = authority.tls_server(names, *window)
    for path, pem in zip((folder / "server.crt", folder / "server.key"), made, strict=True):
        path.write_text(pem)
    return loaded(folder)


def loaded(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return context


@asynccontextmanager
async def embedded(folder: Path, names: Sequence[str] = ("127.0.0.1",)) -> AsyncIterator[EmbeddedWorld]:
    authority = Authority("example.org")
    (folder / "ca.crt").write_text(authority.pem)
    server = ApiServer({"admin-token": "admin", "host-token": "host"})
    await server.start(ssl_context=server_tls(authority, names, folder))
    world = EmbeddedWorld(server, folder / "ca.crt", folder / "token")
    world.trust("host-token")
    try:
        yield world
    finally:
        await world.close()
        await server.stop()


# real ---------------------------------------------------------------------------------------------


class RealWorld(HttpWorld):
    async def serve(self, *, kind: bool = True, status: bool = True) -> None:
        crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/externalworkloads.workload.linkerd.io"
        (version,) = EXTERNAL_WORKLOAD_CRD["spec"]["versions"]
        fresh = version | {"served": kind, "subresources": {"status": {}} if status else {}}
        await self.must("PATCH", crd, {"spec": {"versions": [fresh]}})
        async with asyncio.timeout(10):
            while (await self._has(f"{self.workloads}"), await self._has_status()) != (kind, kind and status):
                await asyncio.sleep(0.05)

    async def _has(self, path: str) -> bool:
        async with self._admin.get(path) as response:
            return response.status == 200

    async def _has_status(self) -> bool:
        async with self._admin.get("/apis/workload.linkerd.io/v1beta1") as response:
            found = json.loads(await response.read()) if response.status == 200 else {"resources": []}
        return "externalworkloads/status" in {resource["name"] for resource in found["resources"]}


@asynccontextmanager
async def real(server: "RealApiServer", folder: Path) -> AsyncIterator[HttpWorld]:
    server.install_crd(EXTERNAL_WORKLOAD_CRD)
    namespace = server.new_namespace()
    world = RealWorld(server.url, server.ca_file, server.admin_token, namespace, folder / "token")
    try:
        for kind in ("ServiceAccount", "Role", "RoleBinding"):
            await apply_manifest(world, kind)
        world.trust(await service_account_token(world))
        await _in_force(world)
        yield world
    finally:
        await world.close()


COLLECTIONS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


async def apply_manifest(world: HttpWorld, kind: str, uid: str = "", host: str = "") -> None:
    """The document of that kind in config/cluster/host.yaml, filled in as its first lines say. `host`: the API
    user who speaks for the host; "": its account."""
    account = f"system:serviceaccount:{world.namespace}:fairlead-host-{NAME}"
    names = {"NAME": NAME, "NAMESPACE": world.namespace, "UID_OF_WORKLOAD": uid, "HOST": host or account}
    documents = string.Template(HOST_MANIFESTS.read_text()).safe_substitute(names).split("\n---\n")
    document = next(d for d in documents if f"\nkind: {kind}\n" in d)
    await world.must("POST", COLLECTIONS[kind].format(world.namespace), document, "application/yaml")


async def service_account_token(world: HttpWorld) -> str:
    path = COLLECTIONS["ServiceAccount"].format(world.namespace) + f"/fairlead-host-{NAME}/token"
    answer = await world.must("POST", path, {"spec": {"expirationSeconds": 3600}})
    return str(answer["status"]["token"])


async def _in_force(world: HttpWorld) -> None:
    """Account and rights reach the server's caches a moment after they were written."""
    async with asyncio.timeout(10):
        while True:
            try:
                await world.api.read()
            except Trouble as trouble:
                if trouble.reason is Reason.WORKLOAD_MISSING:
                    return
                assert trouble.reason in (Reason.API_UNAUTHORIZED, Reason.API_FORBIDDEN), trouble
            await asyncio.sleep(0.05)


def condition(status: str = "True", reason: str = "HostReady", kind: str = "Ready") -> Condition:
    return Condition(kind, status, reason, "as intended", "2026-01-02T03:04:05Z")


@asynccontextmanager
async def made(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[World]:
    """The world that a fixture's parameter names."""
    match request.param:
        case "memory":
            yield MemoryWorld()
        case "embedded":
            async with embedded(folder) as world:
                yield world
        case "real":
            async with real(request.getfixturevalue("real_apiserver"), folder) as http:
                yield http
