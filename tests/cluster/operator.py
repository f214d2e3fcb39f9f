"""An operator beside a real kube-apiserver: a kubeconfig, the shipped files, and Linkerd's ConfigMaps."""

import contextlib
import io
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agent.cli.main import main
from agent.sandbox.api.schema import EXTERNAL_WORKLOAD_CRD
from agent.sandbox.identity.ca import Authority
from tests.lab.realparts import ApiServer

Json = dict[str, Any]
NAME, POD_NETWORK = "db-1", "10.42.0.0/16"
IDENTITY = "spiffe://example.org/{namespace}/{name}"
_ADDRESSES = itertools.count(1)  # all namespaces of a server are searched for an address
USUAL = ("--identity", IDENTITY, "--port", "app=5432", "--port", "3306/opaque", "--label", "app=db")


def new_address() -> str:
    number = next(_ADDRESSES)
    return f"198.18.{number // 256}.{number % 256}"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


class Operator:
    """`namespace`: of the hosts, and of Linkerd's ConfigMaps too."""

    def __init__(self, server: ApiServer, folder: Path, namespace: str = "", token: str = "") -> None:
        self.server, self.folder = server, folder
        server.install_crd(EXTERNAL_WORKLOAD_CRD)
        self.namespace = namespace or server.new_namespace()
        self.address, self.identity = new_address(), self.identity_of(NAME)
        self.anchors = Authority("root.example").pem
        self.kubeconfig = folder / "kubeconfig"
        self.write_kubeconfig(token or server.admin_token)

    def write_kubeconfig(self, token: str, **cluster: object) -> None:
        one = {"server": self.server.url, "certificate-authority": str(self.server.ca_file), **cluster}
        tree = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": one}],
            "users": [{"name": "u", "user": {"token": token}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(tree))

    def install_linkerd(self) -> None:
        values = yaml.safe_dump({"clusterDomain": "cluster.test", "identityTrustDomain": "mesh.test"})
        self.config_map("linkerd-config", {"values": values})
        self.config_map("linkerd-identity-trust-roots", {"ca-bundle.crt": self.anchors})

    def config_map(self, name: str, data: Mapping[str, str]) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/configmaps"
        self.server.must("POST", path, {"metadata": {"name": name}, "data": dict(data)})

    def enrol(self, *words: str, name: str = NAME, address: str = "", at: bool = True) -> Done:
        where = ("--address", address or self.address, *USUAL) if at else ()
        bundle = (
            "--pod-network",
            POD_NETWORK,
            "--api-server",
            self.server.url,
            "--bundle",
            str(self.bundle(name)),
        )
        return self.run("enrol", name, *where, *bundle, "--linkerd-namespace", self.namespace, *words)

    def identity_of(self, name: str) -> str:
        return IDENTITY.format(namespace=self.namespace, name=name)

    def bundle(self, name: str = NAME) -> Path:
        return self.folder / f"{name}.bundle"

    def run(self, verb: str, name: str, *words: str) -> Done:
        return run(verb, name, "-n", self.namespace, "--kubeconfig", str(self.kubeconfig), *words)

    def path(self, kind: str, name: str = NAME) -> str:
        group = {
            "externalworkloads": "apis/workload.linkerd.io/v1beta1",
            "leases": "apis/coordination.k8s.io/v1",
            "roles": "apis/rbac.authorization.k8s.io/v1",
            "rolebindings": "apis/rbac.authorization.k8s.io/v1",
            "serviceaccounts": "api/v1",
            "pods": "api/v1",
        }[kind]
        return f"/{group}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def get(self, kind: str, name: str = NAME) -> Json:
        return self.server.must("GET", self.path(kind, name))

    def has(self, kind: str, name: str = NAME) -> bool:
        return self.server.request("GET", self.path(kind, name)).status == 200


def run(*words: str) -> Done:
    """A command of fairlead, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(words))
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
