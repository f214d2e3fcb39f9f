"""`fairlead enrol` on a real kube-apiserver, with the bundle that it writes."""

import json
from pathlib import Path

import pytest
import yaml

from agent.cluster.enrolment import mesh
from agent.core.enrol import bundle
from tests.cluster.operator import NAME, Operator
from tests.lab.realparts import ApiServer

pytestmark = pytest.mark.real
ROLE = f"fairlead-host-{NAME}"


@pytest.fixture
def operator(real_apiserver: ApiServer, tmp_path: Path) -> Operator:
    made = Operator(real_apiserver, tmp_path)
    made.install_linkerd()
    return made


def test_a_host_is_enrolled(operator: Operator) -> None:
    done = operator.enrol()
    assert done.code == 0, done.err
    workload, lease = operator.get("externalworkloads"), operator.get("leases")
    meta, spec = workload["metadata"], workload["spec"]
    assert spec["workloadIPs"] == [{"ip": operator.address}]
    assert spec["meshTLS"]["identity"] == operator.identity
    assert [port["port"] for port in spec["ports"]] == [5432, 3306]
    assert meta["annotations"] == {
        "fairlead.dev/host": f"{operator.identity}/agent",
        "config.linkerd.io/opaque-ports": "3306",
    }
    assert meta["labels"] == {"app": "db"}
    assert lease["metadata"]["annotations"] == {"fairlead.dev/host": f"{operator.identity}/agent"}
    assert lease["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "fairlead"}
    assert lease["metadata"]["ownerReferences"][0]["uid"] == meta["uid"]
    assert operator.get("rolebindings", ROLE)["subjects"][0]["name"] == f"{operator.identity}/agent"
    assert operator.get("roles", ROLE)["rules"][1]["resourceNames"] == [NAME]


def test_the_bundle_has_what_the_cluster_says(operator: Operator) -> None:
    done = operator.enrol("-o", "json")
    made, report = bundle.read(operator.bundle().read_text()), json.loads(done.out)
    assert report["fingerprint"] == made.fingerprint
    assert made.config["control_plane"] == {
        "namespace": operator.namespace,
        "cluster_domain": "cluster.test",
        "trust_domain": "mesh.test",
        "cluster_networks": ["10.42.0.0/16"],
    }
    assert made.config["redirect"]["outbound_networks"] == ["10.42.0.0/16", "10.96.0.0/16"]
    assert made.config["api"]["server"] == operator.server.url
    assert made.files == {"trust-anchors.pem": operator.anchors, "api-ca.pem": operator.server.ca_file.read_text()}
    assert operator.server.admin_token not in operator.bundle().read_text()
    parents = {entry["parent_id"] for entry in report["entries"]}
    assert parents == {f"spiffe://example.org/host/{NAME}"}


def test_a_second_run_changes_nothing(operator: Operator) -> None:
    operator.enrol()
    before = [operator.get(kind)["metadata"]["resourceVersion"] for kind in ("externalworkloads", "leases")]
    assert operator.enrol().code == 0
    again = operator.enrol(at=False)
    assert again.code == 0, again.err
    spec = operator.get("externalworkloads")["spec"]
    assert spec["workloadIPs"] == [{"ip": operator.address}] and len(spec["ports"]) == 2
    assert operator.get("leases")["metadata"]["resourceVersion"] == before[1]


def test_a_dry_run_changes_nothing(operator: Operator) -> None:
    done = operator.enrol("--dry-run", "-o", "yaml")
    kinds = [body["kind"] for body in yaml.safe_load_all(done.out)]
    assert kinds == ["ExternalWorkload", "Lease", "Role", "RoleBinding"], done.err
    assert "&" not in done.out and "*" not in done.out, "what is there twice is written twice"
    assert not operator.has("externalworkloads") and not operator.bundle().exists()


def test_refusals_name_the_other_object(operator: Operator) -> None:
    """An address, an identity, a pod's address, a bad name, another host of this name."""
    assert operator.enrol().code == 0
    elsewhere = Operator(operator.server, operator.folder)
    elsewhere.install_linkerd()
    label = f"ExternalWorkload {operator.namespace}/{NAME}"

    taken = elsewhere.enrol("--port", "9000", name="db-2", address=operator.address)
    assert taken.code == 1 and f"{label} has {operator.address} with port 3306, 5432" in taken.err, taken.err
    shared = elsewhere.enrol("--identity", operator.identity, name="db-2")
    assert shared.code == 1 and f"{label} has the identity {operator.identity}" in shared.err, shared.err
    named = elsewhere.enrol(name="DB_2.example")
    assert named.code == 1 and "use db-2.example" in named.err, named.err
    other = operator.enrol(address="198.18.255.1")
    assert f"{label} exists with {operator.address}, not 198.18.255.1" in other.err and "--replace" in other.err
    assert not any(elsewhere.has("externalworkloads", name) for name in ("db-2", "DB_2.example"))
    assert operator.get("externalworkloads")["spec"]["workloadIPs"] == [{"ip": operator.address}]
    moved = operator.enrol("--replace", address="198.18.255.1")
    assert moved.code == 0, moved.err
    assert operator.get("externalworkloads")["spec"]["workloadIPs"] == [{"ip": "198.18.255.1"}]


def test_hosts_behind_one_address_are_refused(operator: Operator) -> None:
    assert operator.enrol().code == 0
    words = ("--port", "9000", "--identity", "spiffe://example.org/b", "--address", operator.address)
    behind = operator.enrol(*words, name="db-2", at=False)
    assert behind.code == 1 and "peers dial one proxy at an address" in behind.err, behind.err


def test_an_address_of_a_pod_is_refused(operator: Operator) -> None:
    body = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    operator.server.must("POST", operator.path("pods", ""), body)
    status = {"status": {"podIP": operator.address, "podIPs": [{"ip": operator.address}], "phase": "Running"}}
    kind = "application/merge-patch+json"
    operator.server.must("PATCH", operator.path("pods", "web") + "/status", status, content_type=kind)
    refused = operator.enrol()
    assert refused.code == 1 and f"Pod {operator.namespace}/web has {operator.address}" in refused.err


def test_another_programs_lease_is_left_alone(operator: Operator) -> None:
    body = {"metadata": {"name": NAME}, "spec": {"holderIdentity": "elector-7"}}
    operator.server.must("POST", operator.path("leases", ""), body)
    refused = operator.enrol()
    assert (
        refused.code == 1 and f"Lease {operator.namespace}/{NAME} exists and is used by elector-7" in refused.err
    )
    assert operator.get("leases")["spec"] == {"holderIdentity": "elector-7"}


def test_another_manager_is_named(operator: Operator) -> None:
    assert operator.enrol().code == 0
    kind, query = "application/apply-patch+yaml", {"fieldManager": "argo", "force": "true"}
    change = {
        "apiVersion": "workload.linkerd.io/v1beta1",
        "kind": "ExternalWorkload",
        "metadata": {"name": NAME},
        "spec": {"meshTLS": {"identity": operator.identity, "serverName": "other.example"}},
    }
    operator.server.request("PATCH", operator.path("externalworkloads"), change, content_type=kind, query=query)
    refused = operator.enrol("--server-name", "mine.example")
    assert refused.code == 1 and '"argo"' in refused.err and "--force" in refused.err, refused.err
    assert operator.enrol("--server-name", "mine.example", "--force").code == 0
    assert operator.get("externalworkloads")["spec"]["meshTLS"]["serverName"] == "mine.example"


def test_an_address_of_loopback_is_not_for_hosts(operator: Operator) -> None:
    words = ("--address", operator.address, "--identity", operator.identity, "--pod-network", "10.42.0.0/16")
    refused = operator.run("enrol", NAME, *words, "--linkerd-namespace", operator.namespace)
    assert refused.code == 1 and "hosts cannot reach the API server at https://127.0.0.1" in refused.err
    foreign = operator.folder / "foreign.pem"
    foreign.write_text(operator.anchors)
    refused = operator.enrol("--api-ca", str(foreign))
    assert refused.code == 1 and "--api-ca: both were tried from here" in refused.err, refused.err
    assert not operator.has("externalworkloads")


def test_a_reimaged_host_is_enrolled_again(operator: Operator) -> None:
    """The Lease keeps its machine through a second run, and loses it by --replace alone."""
    operator.enrol()
    change = {"metadata": {"annotations": {"fairlead.dev/machine": "old"}}}
    kind = "application/merge-patch+json"
    operator.server.must("PATCH", operator.path("leases"), change, content_type=kind)
    assert operator.enrol().code == 0
    assert operator.get("leases")["metadata"]["annotations"]["fairlead.dev/machine"] == "old"
    assert operator.enrol("--replace").code == 0
    assert "fairlead.dev/machine" not in operator.get("leases")["metadata"]["annotations"]


def test_a_host_with_an_account_gets_one_and_no_identity_for_the_api(operator: Operator) -> None:
    done = operator.enrol("--account")
    assert done.code == 0, done.err
    user = f"system:serviceaccount:{operator.namespace}:{ROLE}"
    assert operator.get("leases")["metadata"]["annotations"]["fairlead.dev/host"] == user
    assert operator.get("serviceaccounts", ROLE)["automountServiceAccountToken"] is False
    subject = {"kind": "ServiceAccount", "name": ROLE, "namespace": operator.namespace}
    assert operator.get("rolebindings", ROLE)["subjects"] == [subject]
    api = bundle.read(operator.bundle().read_text()).config["api"]
    assert (api["auth"], api["token_file"]) == ("token-file", "/etc/fairlead/token")
    assert f"kubectl -n {operator.namespace} create token {ROLE}" in done.out and "/agent" not in done.out


def test_the_service_network_without_servicecidrs(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Kubernetes 1.33: the refusal of a Service names it, and nothing is created."""
    monkeypatch.setattr(mesh, "_CIDRS", "/apis/networking.k8s.io/v1/of-an-earlier-release")
    done = operator.enrol()
    assert done.code == 0, done.err
    networks = bundle.read(operator.bundle().read_text()).config["redirect"]["outbound_networks"]
    assert networks == ["10.42.0.0/16", "10.96.0.0/16"]
    services = operator.server.must("GET", f"/api/v1/namespaces/{operator.namespace}/services")
    assert services["items"] == []


def test_what_cannot_be_found_out_is_asked_for(real_apiserver: ApiServer, tmp_path: Path) -> None:
    """Nothing is written before all of it is known."""
    operator = Operator(real_apiserver, tmp_path)
    refused = operator.enrol()
    assert refused.code == 1 and "--cluster-domain" in refused.err, refused.err
    refused = operator.enrol("--cluster-domain", "cluster.local")
    assert refused.code == 1 and "--anchors FILE" in refused.err, refused.err
    assert not operator.has("externalworkloads")
    anchors = tmp_path / "anchors.pem"
    anchors.write_text(operator.anchors)
    done = operator.enrol("--cluster-domain", "cluster.local", "--anchors", str(anchors))
    assert done.code == 0, done.err


def test_a_kubeconfig_that_does_not_verify_is_refused(operator: Operator) -> None:
    operator.write_kubeconfig(operator.server.admin_token, **{"insecure-skip-tls-verify": True})
    refused = operator.enrol()
    assert refused.code == 1 and "insecure-skip-tls-verify" in refused.err, refused.err
