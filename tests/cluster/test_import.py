"""`fairlead import`: manifests in the shapes of guides; a real kube-apiserver takes strictly what it prints."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import policy_kinds
from tests.cluster.operator import Done, Operator, run
from tests.cluster.test_manifest import collection
from tests.contract.jwt_worlds import CLUSTER
from tests.lab.realparts import ApiServer

IDENTITY = ("--identity", "spiffe://example.org/{name}")
GUIDES = {
    "a group that Linkerd lacks": (
        """
apiVersion: workload.linkerd.io/v1alpha1
kind: WorkloadGroup
metadata: {name: legacy, namespace: NS}
spec:
  template:
    metadata: {labels: {app: legacy}}
    spec:
      ports: [{name: http, port: 8080}]
      probes:
        - httpGet: {path: /health, port: 8080, host: 127.0.0.1}
          interval: 15s
          timeout: 500ms
          failureThreshold: 3
        - exec: {command: [true]}
""",
        (
            "is not a kind of Linkerd's open source",
            "interval: 15s",
            "exec probe was removed",
            "the host of a probe",
        ),
    ),
    "a group of a vendor": (
        """
apiVersion: workload.buoyant.io/v1alpha1
kind: ExternalGroup
metadata: {name: smiley, namespace: NS}
spec:
  probes:
    - httpGet: {path: /ready, port: 4192, scheme: HTTP, host: 127.0.0.1}
      initialDelaySeconds: 5
      periodSeconds: 10
  template:
    metadata: {labels: {app: smiley}}
    ports: [{name: http, port: 8080}]
""",
        ("is not a kind of Linkerd's open source", "the host of a probe"),
    ),
    "a workload of the first version, with a status": (
        """
apiVersion: workload.linkerd.io/v1alpha1
kind: ExternalWorkload
metadata: {name: vm-1, namespace: NS, labels: {app: vm}}
spec:
  meshTls: {identity: "spiffe://root.linkerd.cluster.local/vm-1", serverName: vm-1.cluster.local}
  workloadIPs: [{ip: 192.0.2.1}]
  ports: [{port: 80, name: http}]
status:
  conditions: [{type: Ready, status: "True"}]
""",
        ("is written workload.linkerd.io/v1beta1", "its status was removed", "meshTls is written meshTLS"),
    ),
    "a member without meshTLS, with probes": (
        """
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm-2, namespace: NS, labels: {app: vm, workloadGroup: legacy}}
spec:
  workloadIPs: [{ip: 192.0.2.2}]
  ports: [{port: 80}]
  probes: [{httpGet: {port: 80}}]
  workloadGroup: legacy
""",
        (
            "its probes were removed",
            "meshTLS.identity is spiffe://example.org/vm-2",
            "spec.workloadGroup was removed",
        ),
    ),
    "Endpoints beside a Service, and a Server for pods": (
        """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: NS}
spec: {ports: [{port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: db, namespace: NS}
subsets: [{addresses: [{ip: 192.0.2.3}, {ip: 192.0.2.4}], ports: [{port: 5432}]}]
---
apiVersion: policy.linkerd.io/v1beta1
kind: Server
metadata: {name: db, namespace: NS}
spec: {podSelector: {matchLabels: {app: db}}, port: 5432}
""",
        ("its address 192.0.2.4 is NS/db-2 now", "a podSelector never selects a host", "it is v1beta3"),
    ),
    "clients by patterns, for a Server and for a policy": (
        """
apiVersion: policy.linkerd.io/v1alpha1
kind: ServerAuthorization
metadata: {name: db, namespace: NS}
spec:
  server: {name: db}
  client:
    meshTLS: {identities: ["*.shop.serviceaccount.identity.linkerd.cluster.local", "spiffe://example.org/web"]}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: all, namespace: NS}
spec: {identities: ["*"]}
---
apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {name: plain, namespace: NS}
spec: {server: {selector: {matchLabels: {app: db}}}, client: {unauthenticated: true}}
""",
        (
            "ServerAuthorization NS/db: the pattern *.shop.serviceaccount",
            "it is written policy.linkerd.io/v1beta1",
            "MeshTLSAuthentication NS/all: the pattern * never matches the SPIFFE ID of a host",
        ),
    ),
}


def imported(folder: Path, text: str, *words: str) -> Done:
    file = folder / "guide.yaml"
    file.write_text(text)
    return run("import", str(file), *words)


def strictly(server: ApiServer, body: dict[str, Any], namespace: str) -> None:
    body["metadata"]["namespace"] = namespace
    query = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "test"}
    if body["kind"] == "WorkloadGroup":
        path = f"/apis/workload.fairlead.dev/v1beta1/namespaces/{namespace}/workloadgroups"
    else:
        path = collection(body, namespace)
    kind = "application/apply-patch+yaml"
    path = f"{path}/{body['metadata']['name']}"
    answer = server.request("PATCH", path, body, content_type=kind, query=query)
    assert answer.status in (200, 201), (body, answer.body)


@pytest.mark.real
@pytest.mark.parametrize("guide", GUIDES)
def test_what_it_prints_works(real_apiserver: ApiServer, tmp_path: Path, guide: str) -> None:
    operator = Operator(real_apiserver, tmp_path)
    for kind in (*policy_kinds.definitions(), yaml.safe_load((CLUSTER / "workloadgroup.yaml").read_text())):
        real_apiserver.install_crd(kind)
    text, notes = GUIDES[guide]
    done = imported(tmp_path, text, *IDENTITY)
    assert done.code == 0, done.err
    for note in notes:
        assert note in done.err, done.err
    for body in yaml.safe_load_all(done.out):
        strictly(real_apiserver, body, operator.namespace)


def test_an_identity_is_never_invented(tmp_path: Path) -> None:
    for guide in ("a member without meshTLS, with probes", "a group of a vendor"):
        done = imported(tmp_path, GUIDES[guide][0])
        assert (done.code, done.out) == (1, "") and "--identity" in done.err, done.err


def test_what_works_already_is_printed_as_it_is(tmp_path: Path) -> None:
    done = imported(tmp_path, GUIDES["a workload of the first version, with a status"][0])
    again = imported(tmp_path, done.out)
    assert (again.code, again.out, again.err) == (0, done.out, "")


def test_clients_by_exact_identity_are_printed_as_they_are(tmp_path: Path) -> None:
    guide = "clients by patterns, for a Server and for a policy"
    exact = GUIDES[guide][0].replace("*", "web").replace("v1alpha1\nkind: ServerA", "v1beta1\nkind: ServerA")
    done = imported(tmp_path, exact)
    assert (done.code, done.err) == (0, "")
    assert list(yaml.safe_load_all(done.out)) == list(yaml.safe_load_all(exact))


def test_what_is_not_a_manifest_has_its_error(tmp_path: Path) -> None:
    assert "not an object of Kubernetes" in imported(tmp_path, "[1]").err
    assert "it is not YAML" in imported(tmp_path, "a: [").err
