"""API servers that take JWT-SVIDs: the embedded one, and a real kube-apiserver with config/cluster/.

Both have one OIDC issuer, which serves the keys of the sandbox's JWT authority over TLS.
"""

import asyncio
import os
import random
import string
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.adapters.kube import KubeApi
from agent.adapters.kube.jwt_svid import JwtSvid
from agent.sandbox.api.schema import EXTERNAL_WORKLOAD_CRD
from agent.sandbox.identity.ca import Authority
from agent.sandbox.identity.jwt_authority import JwtAuthenticator, JwtAuthority
from agent.sandbox.identity.oidc import OidcIssuer
from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer
from tests.contract import status_worlds
from tests.contract.status_worlds import NAME, WORKLOAD, HttpWorld, server_tls

if TYPE_CHECKING:
    from tests.lab.realparts import ApiServer as RealApiServer

CLUSTER = Path(__file__).parents[2] / "config" / "cluster"
AUDIENCE = "kubernetes"
DOMAIN = "example.org"
WORKLOADS = WORKLOAD.identity  # that the proxy's user has too
ME = f"{WORKLOADS}/agent"


class JwtWorld:
    """A cluster and a Workload API. `token`: signs one by hand; `client`: the agent's own way in."""

    def __init__(self, http: HttpWorld, keys: JwtAuthority, workload_api: WorkloadApiServer, socket: Path) -> None:
        self.http, self.keys, self.workload_api, self.socket = http, keys, workload_api, socket
        self._clients: list[KubeApi] = []

    def credential(self, audience: str = AUDIENCE, wall: Callable[[], float] = time.time) -> JwtSvid:
        http = self.http
        return JwtSvid(http.url, str(http.ca_file), str(self.socket), audience, ME, wall, random.random)

    def client(self, audience: str = AUDIENCE) -> KubeApi:
        self._clients.append(self.http.client(credential=self.credential(audience)))
        return self._clients[-1]

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


@asynccontextmanager
async def _world(http: HttpWorld, keys: JwtAuthority, folder: Path) -> AsyncIterator[JwtWorld]:
    socket = folder / "agent.sock"
    entries = {os.geteuid(): (Entry(WORKLOADS), Entry(ME))}
    async with WorkloadApiServer(socket, Authority(DOMAIN), entries, jwt=keys) as workload_api:
        world = JwtWorld(http, keys, workload_api, socket)
        try:
            yield world
        finally:
            await world.close()


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[JwtWorld]:
    keys = JwtAuthority(DOMAIN, "https://issuer.example.org")
    async with status_worlds.embedded(folder) as http:
        http.server.authenticators = [JwtAuthenticator(keys, [AUDIENCE])]
        async with _world(http, keys, folder) as world:
            yield world


# real ---------------------------------------------------------------------------------------------


class Issuer:
    """An OIDC issuer in a thread of its own, for it outlives a test's event loop."""

    def __init__(self, folder: Path, keys: JwtAuthority | None = None) -> None:
        self.keys, self.authority = keys or JwtAuthority(DOMAIN), Authority("issuer.example")
        self._oidc = OidcIssuer(self.keys, server_tls(self.authority, ["127.0.0.1"], folder))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="oidc issuer")

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def start(self) -> None:
        self.do(self._oidc.start())

    def stop(self) -> None:
        self.do(self._oidc.stop())

    @contextmanager
    def serving(self) -> Iterator["Issuer"]:
        self._thread.start()
        try:
            self.start()
            yield self
        finally:
            self.stop()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def configuration(self) -> str:
        """config/cluster/authentication.yaml, filled in as its first lines say."""
        ca = "".join(f"        {line}\n" for line in self.authority.pem.splitlines())
        names = {"ISSUER": self.keys.issuer, "AUDIENCE": AUDIENCE, "ISSUER_CA": ca}
        names["TRUST_DOMAIN"] = self.keys.trust_domain
        return string.Template((CLUSTER / "authentication.yaml").read_text()).safe_substitute(names)


@contextmanager
def issuing(folder: Path) -> Iterator[tuple[Issuer, "RealApiServer"]]:
    """A kube-apiserver with the shipped AuthenticationConfiguration, and its issuer."""
    from tests.lab.realparts import ApiServer as RealApiServer

    with Issuer(folder).serving() as issuer, RealApiServer(issuer.configuration()) as server:
        yield issuer, server


async def admit(http: HttpWorld) -> None:
    """The shipped admission policies; the API server takes some seconds until they are in force."""
    kinds = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
    for at, document in enumerate(manifests("admission.yaml")):
        path = f"/apis/admissionregistration.k8s.io/v1/{kinds[at % 2]}"
        made = await http.ask("POST", path, document, "application/yaml")
        assert made.status in (201, 409), made.body


async def allow(http: HttpWorld, name: str, rule: dict[str, Any], *users: str) -> None:
    """A role of that name with one rule, for these users."""
    group = "rbac.authorization.k8s.io"
    base = f"/apis/{group}/v1/namespaces/{http.namespace}"
    await http.must("POST", f"{base}/roles", {"metadata": {"name": name}, "rules": [rule]})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user} for user in users],
    }
    await http.must("POST", f"{base}/rolebindings", binding)


def manifests(file: str, **names: str) -> list[str]:
    return string.Template((CLUSTER / file).read_text()).safe_substitute(names).split("\n---\n")


@asynccontextmanager
async def real(server: "RealApiServer", issuer: Issuer, folder: Path) -> AsyncIterator[JwtWorld]:
    server.install_crd(EXTERNAL_WORKLOAD_CRD)
    http = HttpWorld(server.url, server.ca_file, server.admin_token, server.new_namespace(), folder / "token")
    try:
        await status_worlds.apply_manifest(http, "Role")
        names = {"NAME": NAME, "NAMESPACE": http.namespace, "HOST": ME}
        (binding,) = manifests("host-keyless.yaml", **names)
        path = status_worlds.COLLECTIONS["RoleBinding"].format(http.namespace)
        await http.must("POST", path, binding, "application/yaml")
        async with _world(http, issuer.keys, folder) as world:
            yield world
    finally:
        await http.close()
