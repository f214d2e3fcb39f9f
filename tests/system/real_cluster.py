"""A real kube-apiserver beside a machine, with what Linkerd and an administrator put into it, in place of the
sandbox's. The mesh's JWT authority is its issuer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from agent.host import serving
from agent.sandbox.api.schema import EXTERNAL_WORKLOAD_CRD
from agent.sandbox.proxy import controllers
from agent.sandbox.stage import network
from agent.sandbox.stage.scene import NAME, NAMESPACE, PORT, TRUST_DOMAIN
from tests.contract.jwt_worlds import CLUSTER as FILES
from tests.contract.jwt_worlds import Issuer
from tests.lab import netns
from tests.lab.machine import Machine
from tests.lab.realparts import ApiServer
from tests.system.mesh import CLUSTER, HOST, Mesh

API_PORT = 6444
URL = f"https://{CLUSTER}:{API_PORT}"
KUBECONFIG = "/root/kubeconfig"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_PLURALS = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}
_OF_A_HOST = {
    "externalworkloads": ("workload.linkerd.io/v1beta1", NAME),
    "leases": ("coordination.k8s.io/v1", NAME),
    "roles": ("rbac.authorization.k8s.io/v1", f"fairlead-host-{NAME}"),
    "rolebindings": ("rbac.authorization.k8s.io/v1", f"fairlead-host-{NAME}"),
}


@dataclass(frozen=True)
class Cluster:
    server: ApiServer

    def furnish(self, anchors: str) -> None:
        """Linkerd's kinds and ConfigMaps, fairlead's policies, and a WorkloadGroup db."""
        group = yaml.safe_load((FILES / "workloadgroup.yaml").read_text())
        for kind in (EXTERNAL_WORKLOAD_CRD, group):
            self.server.install_crd(kind)
        for namespace in (NAMESPACE, "linkerd"):
            self.server.must("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        values = yaml.safe_dump({"clusterDomain": "cluster.local", "identityTrustDomain": "cluster.local"})
        self._config_map("linkerd-config", {"values": values})
        self._config_map("linkerd-identity-trust-roots", {"ca-bundle.crt": anchors})
        for body in yaml.safe_load_all((FILES / "admission.yaml").read_text()):
            self.server.must("POST", f"{_ADMISSION}/{_PLURALS[body['kind']]}", body)
        path = f"/apis/workload.fairlead.dev/v1beta1/namespaces/{NAMESPACE}/workloadgroups"
        self.server.must("POST", path, _group())

    def _config_map(self, name: str, data: dict[str, str]) -> None:
        body = {"metadata": {"name": name}, "data": data}
        self.server.must("POST", "/api/v1/namespaces/linkerd/configmaps", body)

    def give_kubeconfig(self, machine: Machine) -> None:
        """An administrator's, as the machine reaches the API server."""
        tree = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": URL, "certificate-authority": "/root/kube-ca.pem"}}],
            "users": [{"name": "u", "user": {"token": self.server.admin_token}}],
        }
        machine.write("/root/kube-ca.pem", self.server.ca_file.read_text())
        machine.write(KUBECONFIG, yaml.safe_dump(tree), mode=0o600)

    def ready(self) -> tuple[str, str]:
        """Status and reason of Ready."""
        conditions = self.read("externalworkloads").get("status", {}).get("conditions", [])
        return next(((c["status"], c["reason"]) for c in conditions if c["type"] == "Ready"), ("", ""))

    def left(self) -> set[str]:
        """What there is of the host."""
        return {kind for kind in _OF_A_HOST if self.read(kind)}

    def read(self, kind: str) -> dict[str, Any]:
        """The host's. {}: there is none."""
        version, name = _OF_A_HOST[kind]
        answer = self.server.request("GET", f"/apis/{version}/namespaces/{NAMESPACE}/{kind}/{name}")
        assert answer.status in (200, 404), answer
        return answer.body if answer.status == 200 else {}


def controller_words() -> tuple[str, ...]:
    """Of `fairlead enrol`, where no DNS knows Linkerd's controllers."""
    destination = f"{CLUSTER}:{controllers.DESTINATION_PORT}"
    return "--destination", destination, "--policy", f"{CLUSTER}:{controllers.POLICY_PORT}"


def _group() -> dict[str, Any]:
    _, destination, _, policy = controller_words()
    settings = {"podNetworks": [network.POD_NETWORK], "workloadAPI": "/opt/spire/api.sock"}
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"ports": [{"name": "app", "port": PORT}]}}
    return {
        "apiVersion": "workload.fairlead.dev/v1beta1",
        "kind": "WorkloadGroup",
        "metadata": {"name": "db"},
        "spec": {
            "template": template,
            "meshTLS": {"identity": f"spiffe://{TRUST_DOMAIN}/{{name}}"},
            "networks": [f"{HOST}/32"],
            "host": {**settings, "destination": destination, "policy": policy},
        },
    }


@contextmanager
def beside(machine: Machine, mesh: Mesh) -> Iterator[Cluster]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Issuer(Path(folder), mesh.keys).serving() as issuer,
        ApiServer(issuer.configuration(), (CLUSTER,)) as server,
        _reachable(mesh.space, server.port),
    ):
        cluster = Cluster(server)
        cluster.furnish(mesh.authority.pem)
        cluster.give_kubeconfig(machine)
        yield cluster


@contextmanager
def _reachable(space: netns.Namespace, port: int) -> Iterator[None]:
    """What listens at this port of loopback is reached at URL, from the namespace and from the machine."""
    listener = space.inside(lambda: socket.create_server((CLUSTER, API_PORT)))
    entered, ends = threading.Event(), list[Callable[[], object]]()

    async def serve() -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        ends.append(lambda: loop.call_soon_threadsafe(end.set))
        server = await asyncio.start_server(partial(_forward, port), sock=listener)
        entered.set()
        await end.wait()
        await serving.close(server)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="to the API server")
    thread.start()
    assert entered.wait(60)
    try:
        yield
    finally:
        ends[0]()
        thread.join()


async def _forward(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    there, back = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer), contextlib.closing(back):
        tasks = [asyncio.create_task(_copy(*ends)) for ends in ((reader, back), (there, writer))]
        with contextlib.suppress(asyncio.CancelledError):  # asyncio logs one at the end of the thread
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
