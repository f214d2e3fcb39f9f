"""A fleet on a real kube-apiserver, and `fairlead watcher` as a process."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from agent.sandbox.api.schema import EXTERNAL_WORKLOAD_CRD

if TYPE_CHECKING:
    from tests.lab.realparts import ApiServer

WORKLOADS = "/apis/workload.linkerd.io/v1beta1/namespaces/{}/externalworkloads"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
GROUPS = "/apis/workload.fairlead.dev/v1beta1/namespaces/{}/workloadgroups"
MERGE = "application/merge-patch+json"
SYSTEM = "fairlead-system"
MANIFEST = Path(__file__).parents[2] / "config/cluster/watcher.yaml"
COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
}
WITHIN = 60.0  # seconds: a bound for a machine that is busy, never what a test is about
_NUMBERS = itertools.count(1)
ZONE = "topology.kubernetes.io/zone"


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(MANIFEST.read_text().replace("${IMAGE}", "registry.example/fairlead:0")))


def install(server: ApiServer) -> str:
    """What the manifest says, once for each API server: a token of the watcher's account. No policy of hosts."""
    server.install_crd(EXTERNAL_WORKLOAD_CRD)
    for document in manifests():
        path = COLLECTIONS[document["kind"]].format(SYSTEM)
        answer = server.request("POST", path, document)
        assert answer.status in (201, 409), answer.body
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/fairlead-watcher/token"
    return str(server.must("POST", path, {"spec": {"expirationSeconds": 3600}})["status"]["token"])


def install_group(fleet: Fleet, name: str) -> str:
    """A WorkloadGroup of the fleet's namespace; returns its path."""
    fleet.server.install_crd(yaml.safe_load((MANIFEST.parent / "workloadgroup.yaml").read_text()))
    template = {"metadata": {}, "spec": {"ports": [{"port": 8080}]}}
    spec = {"template": template, "meshTLS": {"identity": "spiffe://td/{name}"}}
    kind = {"apiVersion": "workload.fairlead.dev/v1beta1", "kind": "WorkloadGroup"}
    fleet.server.must("POST", GROUPS.format(fleet.namespace), {**kind, "metadata": {"name": name}, "spec": spec})
    return f"{GROUPS.format(fleet.namespace)}/{name}"


class Fleet:
    """Hosts of one namespace, as their agents and Linkerd see them."""

    def __init__(self, server: ApiServer) -> None:
        server.install_crd(EXTERNAL_WORKLOAD_CRD)
        self.server, self.namespace = server, server.new_namespace()
        self.workloads, self.leases = WORKLOADS.format(self.namespace), LEASES.format(self.namespace)
        self._renewals = 0
        self.addresses: dict[str, str] = {}

    def enrol(self, name: str, zone: str = "", duration: int = 1, address: str = "") -> None:
        """A host that is Ready and has renewed its Lease; without `address`, at one that no other host has."""
        number = next(_NUMBERS)
        self.addresses[name] = address or f"198.19.{number // 250}.{number % 250}"
        owner = self._workload(name, zone)
        lease = {
            "metadata": {"name": name, "ownerReferences": [owner]},
            "spec": {"leaseDurationSeconds": duration},
        }
        self.server.must("POST", self.leases, lease)
        self.renew(name)
        self.report(name, ("Ready", "True", "HostReady"))

    def _workload(self, name: str, zone: str = "") -> dict[str, str]:
        """Creates it; returns a reference to it."""
        spec = {"meshTLS": {"identity": f"spiffe://td/{name}", "serverName": f"{name}.td"}}
        labels = {ZONE: zone} if zone else {}
        body = {
            "apiVersion": "workload.linkerd.io/v1beta1",
            "kind": "ExternalWorkload",
            "metadata": {"name": name, "labels": labels},
            "spec": {**spec, "workloadIPs": [{"ip": self.addresses[name]}], "ports": [{"port": 8080}]},
        }
        uid = str(self.server.must("POST", self.workloads, body)["metadata"]["uid"])
        return {"apiVersion": str(body["apiVersion"]), "kind": str(body["kind"]), "name": name, "uid": uid}

    def make_anew(self, name: str) -> dict[str, str]:
        """Deletes its ExternalWorkload and creates another of its name, which is Ready. Its Lease stays."""
        self.server.must("DELETE", f"{self.workloads}/{name}")
        owner = self._workload(name)
        self.report(name, ("Ready", "True", "HostReady"))
        return owner

    def version(self, name: str) -> str:
        return str(self.server.must("GET", f"{self.workloads}/{name}")["metadata"]["resourceVersion"])

    def report(self, name: str, *conditions: tuple[str, str, str]) -> None:
        """The agent publishes these conditions: type, status, reason."""
        at = "2026-01-02T03:04:05Z"
        listed = [
            {"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": at}
            for kind, status, reason in conditions
        ]
        self.patch(f"{self.workloads}/{name}/status", {"status": {"conditions": listed}})

    def renew(self, name: str, **spec: object) -> None:
        self._renewals += 1
        at = f"2001-02-03T04:05:{self._renewals // 1000000 % 60:02}.{self._renewals % 1000000:06}Z"
        self.patch(f"{self.leases}/{name}", {"spec": {"holderIdentity": name, "renewTime": at, **spec}})

    def patch(self, path: str, change: object) -> dict[str, Any]:
        return self.server.must("PATCH", path, change, content_type=MERGE)

    def conditions(self, name: str) -> list[tuple[str, str, str]]:
        found = self.server.must("GET", f"{self.workloads}/{name}").get("status", {}).get("conditions", [])
        return [(one["type"], one["status"], one.get("reason", "")) for one in found]

    def unreachable(self, name: str) -> bool:
        return ("Ready", "Unknown", "HostUnreachable") in self.conditions(name)

    def ready(self, *names: str) -> bool:
        return all(("Ready", "True", "HostReady") in self.conditions(name) for name in names)

    def renewing(self, *names: str, until: Callable[[], bool], pause: float = 0.3, within: float = WITHIN) -> None:
        """These hosts renew until that is the case."""
        end = time.monotonic() + within
        while not until():
            assert time.monotonic() < end, {name: self.conditions(name) for name in names}
            for name in names:
                self.renew(name)
            time.sleep(pause)


def kubeconfig(server: ApiServer, file: Path, token: str = "") -> Path:
    cluster = {"server": server.url, "certificate-authority": str(server.ca_file)}
    named = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token or server.admin_token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file.write_text(json.dumps(named))
    return file


class Watcher:
    """`log`: its file. `port`: of its pages."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    def said(self, pattern: str) -> bool:
        return re.search(pattern, self.log.read_text()) is not None

    def wait_for(self, pattern: str) -> None:
        end = time.monotonic() + WITHIN
        while not self.said(pattern):
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def page(self, path: str) -> tuple[int, str]:
        self.wait_for("serves")
        found = re.search(r"serves .*?port=(\d+)", self.log.read_text())
        assert found is not None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, line: str) -> float:
        """The value behind this name, with its labels."""
        status, text = self.page("/metrics")
        assert status == 200
        return next(float(one.rpartition(" ")[2]) for one in text.splitlines() if one.startswith(f"{line} "))


@contextmanager
def watcher(
    config: Path, *options: str, name: str = "w", more: Mapping[str, str] | None = None
) -> Iterator[Watcher]:
    """Quick: a second between two readings, four of grace. `more`: of its environment."""
    log = config.with_name(f"{name}.log")
    argv = [sys.executable, "-m", "agent", "watcher", "--kubeconfig", str(config), "--listen", "127.0.0.1:0"]
    argv += ["--look-every=1", "--shortest=4", "--lease-namespace", SYSTEM, *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stderr=output, env={**os.environ, **(more or {})}
        )
    try:
        yield Watcher(process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        process.wait(10)
