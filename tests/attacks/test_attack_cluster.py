"""The attackers are users of the API server: a host with a compromised agent, the proxy's user with the workload's
own identity, a host's account. Each request of cluster_rows goes to a real API server with the shipped files.

What must hold: a host writes its own status, its own Lease and Events about itself, and nothing else; and a user
with the workload's identity writes nothing.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.attacks.cluster_rows import ALLOWED, MACHINE, NAME, NAMESPACE, OTHER, ROWS, Json, Rights, Row, User
from tests.contract import jwt_worlds, status_worlds
from tests.contract.jwt_worlds import AUDIENCE, DOMAIN, ME, WORKLOADS, Issuer, JwtWorld
from tests.contract.status_worlds import manifest
from tests.lab.realparts import ApiServer

pytestmark = pytest.mark.real
SETTLED = 60.0  # seconds within which policies and rights are in force
_GROUPS = ("workload.linkerd.io", "coordination.k8s.io", "events.k8s.io", "")
_ANOTHERS = {"identity": f"spiffe://{DOMAIN}/vm-2", "serverName": "vm-2.example.org"}


class Cluster:
    """Two hosts in a namespace, and the users of one of them."""

    def __init__(self, world: JwtWorld) -> None:
        self._keys, self.http = world.keys, world.http
        base = f"namespaces/{world.http.namespace}"
        self.collections = {
            "externalworkloads": world.http.workloads,
            "leases": world.http.leases,
            "events": f"/apis/events.k8s.io/v1/{base}/events",
            "core events": f"/api/v1/{base}/events",
        }
        self.account = ""

    def token(self, user: User) -> str:
        if user is User.ACCOUNT:
            return self.account
        return self._keys.sign(ME if user is User.HOST else WORKLOADS, [AUDIENCE], 300)

    async def answer(self, row: Row) -> tuple[int, str]:
        kind = "application/json" if row.method == "POST" else "application/merge-patch+json"
        headers = {"Authorization": f"Bearer {self.token(row.user)}", "Content-Type": kind}
        body = None if row.body is None else self._filled(row.body or self._new(row.kind))
        url = self.http.url + self.collections[row.kind] + row.path
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(row.method, url, data=body, ssl=self.http.tls()) as response,
        ):
            return response.status, (await response.json()).get("message", "")

    def _filled(self, body: Json) -> str:
        return json.dumps(body).replace(NAMESPACE, self.http.namespace)

    def _new(self, kind: str) -> Json:
        if kind == "leases":
            return {"metadata": {"name": "vm-3"}, "spec": {}}
        return manifest(self.http.namespace, "vm-3", meshTLS=_ANOTHERS)

    async def until(self, row: Row) -> None:
        """Rights and policies take a moment after they were written."""
        end = asyncio.get_running_loop().time() + SETTLED
        while (seen := await self.answer(row))[0] != row.status:
            assert asyncio.get_running_loop().time() < end, (row.attempt, seen)
            await asyncio.sleep(0.1)

    async def furnish(self) -> None:
        await jwt_worlds.admit(self.http)
        uid = (await self.http.must("POST", self.http.workloads, manifest(self.http.namespace)))["metadata"]["uid"]
        await self.http.must("POST", self.http.workloads, manifest(self.http.namespace, OTHER, meshTLS=_ANOTHERS))
        await status_worlds.apply_manifest(self.http, "Lease", uid, ME)
        machine = {"metadata": {"annotations": {"fairlead.dev/machine": MACHINE}}}
        await self.http.must("PATCH", f"{self.http.leases}/{NAME}", machine)
        annotations = {"fairlead.dev/host": f"{_ANOTHERS['identity']}/agent"}
        await self.http.must("POST", self.http.leases, {"metadata": {"name": OTHER, "annotations": annotations}})
        await status_worlds.apply_manifest(self.http, "ServiceAccount")
        self.account = await status_worlds.service_account_token(self.http)

    async def join_fleet(self) -> None:
        """The role of fleet.yaml, which the agents' group has, beside that of host.yaml."""
        for document, kind in zip(
            jwt_worlds.manifests("fleet.yaml", NAMESPACE=self.http.namespace), ("Role", "RoleBinding"), strict=True
        ):
            path = status_worlds.COLLECTIONS[kind].format(self.http.namespace)
            await self.http.must("POST", path, document, "application/yaml")

    async def allow_all(self) -> None:
        """A role that leaves everything to the policies."""
        rule = {"apiGroups": list(_GROUPS), "resources": ["*"], "verbs": ["*"]}
        account = f"system:serviceaccount:{self.http.namespace}:fairlead-host-{NAME}"
        await jwt_worlds.allow(self.http, "all", rule, ME, WORKLOADS, account)
        here = next(row for row in ALLOWED if row.kind == "events")
        body = {**(here.body or {}), "metadata": {"name": "here"}}
        await self.http.must("POST", self.collections["events"], json.loads(self._filled(body)))


@pytest.fixture(params=list(Rights), ids=[rights.name.lower() for rights in Rights])
async def cluster(
    request: pytest.FixtureRequest, issuing: tuple[Issuer, ApiServer], tmp_path: Path
) -> AsyncIterator[tuple[Cluster, Rights]]:
    issuer, server = issuing
    async with jwt_worlds.real(server, issuer, tmp_path) as world:
        made = Cluster(world)
        await made.furnish()
        if request.param is Rights.FLEET:
            await made.join_fleet()
        if request.param is Rights.ALL:
            await made.allow_all()
        for row in ALLOWED:
            if row.rights is request.param:
                await made.until(row)
        yield made, request.param


async def test_attack_on_the_api_server(cluster: tuple[Cluster, Rights]) -> None:
    made, rights = cluster
    rows = [row for row in ROWS if row.rights is rights]
    # A policy that is not in force yet would let its first attack pass, and the next ones meet what that left.
    for kind in dict.fromkeys(row.kind for row in rows if row.status == 422):
        await made.until(next(row for row in rows if row.kind == kind and row.status == 422))
    seen = [(row, await made.answer(row)) for row in rows]
    wrong = [(row.attempt, row.user.value, *found) for row, found in seen if _differs(row, *found)]
    assert not wrong
    for row in ALLOWED:
        assert row.rights is not rights or (await made.answer(row))[0] == row.status, row.attempt


def _differs(row: Row, status: int, message: str) -> bool:
    return status != row.status or row.said not in message
