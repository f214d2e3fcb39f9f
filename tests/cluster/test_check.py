"""`fairlead check` on a real kube-apiserver: an operator reads, and each trouble is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.core.doctor import cluster_checks
from agent.host import clocks
from tests.cluster import policy_kinds
from tests.cluster.operator import NAME, Done, Operator, run
from tests.lab.realparts import ApiServer

pytestmark = pytest.mark.real
WRITER = "linkerd-external-workloads-controller"
STATUS = "application/merge-patch+json"


@pytest.fixture
def operator(real_apiserver: ApiServer, tmp_path: Path) -> Operator:
    """Beside a host that is enrolled, Ready and selected by a Service, as Linkerd's writer of slices sees it."""
    made = Operator(real_apiserver, tmp_path)
    for one in policy_kinds.definitions():
        real_apiserver.install_crd(one)
    networks = {"clusterNetworks": "10.0.0.0/8,198.18.0.0/15", "linkerdVersion": "edge-26.9.1"}
    values = yaml.safe_dump({"clusterDomain": "cluster.test", "proxy": {}, **networks})
    made.config_map("linkerd-config", {"values": values})
    made.config_map("linkerd-identity-trust-roots", {"ca-bundle.crt": made.anchors})
    enrolled = made.enrol()
    assert enrolled.code == 0, enrolled.err
    condition = {"type": "Ready", "status": "True", "reason": "HostReady"}
    patch(made, made.path("externalworkloads") + "/status", {"status": {"conditions": [condition]}})
    patch(made, made.path("leases"), {"spec": {"renewTime": clocks.exact_wall(), "leaseDurationSeconds": 300}})
    service(made, "db", {"app": "db"}, 5432, "app")
    slice_of(made, "db", ready=True)
    return made


def patch(operator: Operator, path: str, body: object) -> None:
    operator.server.must("PATCH", path, body, content_type=STATUS)


def service(operator: Operator, name: str, selector: dict[str, str], port: int, target: int | str) -> None:
    ports = [{"port": port, "targetPort": target}]
    body = {"metadata": {"name": name}, "spec": {"selector": selector, "ports": ports}}
    operator.server.must("POST", f"/api/v1/namespaces/{operator.namespace}/services", body)


def slice_of(operator: Operator, name: str, *, ready: bool) -> None:
    target = {"kind": "ExternalWorkload", "name": NAME, "namespace": operator.namespace}
    endpoint = {"addresses": [operator.address], "conditions": {"ready": ready}, "targetRef": target}
    labels = {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": WRITER}
    body = {
        "metadata": {"name": f"linkerd-external-{name}", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [endpoint],
        "ports": [{"port": 5432}],
    }
    path = f"/apis/discovery.k8s.io/v1/namespaces/{operator.namespace}/endpointslices"
    operator.server.must("POST", path, body)


def check(operator: Operator, *words: str) -> Done:
    where = ("--kubeconfig", str(operator.kubeconfig), "--linkerd-namespace", operator.namespace)
    return run("check", *where, *words)


def found(operator: Operator, *words: str) -> dict[str, dict[str, Any]]:
    """The findings of the one host, and of the cluster, by name."""
    done = check(operator, "-n", operator.namespace, "--json", *words)
    report = json.loads(done.out)
    (host,) = report["hosts"].values()
    return {one["name"]: one for one in (*report["checks"], *host)}


def results(operator: Operator) -> dict[str, str]:
    return {name: one["result"] for name, one in found(operator).items()}


def test_a_good_host_passes(operator: Operator) -> None:
    seen = results(operator)
    expected = ("api-server", "kind", *(one.name for one in cluster_checks.HOST))
    assert {name: seen[name] for name in expected} == dict.fromkeys(expected, "ok")
    done = check(operator, NAME, "-n", operator.namespace)
    assert done.code == 0 and f"{operator.namespace}/{NAME}" in done.out and "selected by db" in done.out
    assert "watcher" in done.out and "config/cluster/watcher.yaml" in done.out, "no watcher runs here"


def test_each_trouble_of_a_service_is_named(operator: Operator) -> None:
    service(operator, "other", {"app": "db", "tier": "x"}, 80, 8080)
    assert "Service other wants tier=x, the host has no label tier" in found(operator)["services"]["why"]
    service(operator, "dead", {"app": "db"}, 80, 8080)
    seen = found(operator)
    assert "dead:80 (targetPort 8080/TCP)" in seen["service-ports"]["why"]
    assert seen["service-ports"]["result"] == "fail"
    assert seen["slices"]["result"] == "fail" and "dead" in seen["slices"]["why"]
    patch(operator, operator.path("externalworkloads"), {"metadata": {"labels": {"app": "other"}}})
    seen = found(operator)
    assert seen["services"]["result"] == "warn" and "nearly: Service db wants app=db" in seen["services"]["why"]


def test_a_host_that_died_is_named(operator: Operator) -> None:
    long_ago = "2020-01-01T00:00:00.000000Z"
    patch(operator, operator.path("leases"), {"spec": {"renewTime": long_ago}})
    seen = found(operator)["ready"]
    assert seen["result"] == "fail" and "its Lease of 300 s was renewed" in seen["why"]
    done = check(operator, NAME, "-n", operator.namespace)
    assert done.code == 2


def test_two_hosts_at_one_address_are_named(operator: Operator) -> None:
    path = operator.path("externalworkloads", "")
    spec = operator.get("externalworkloads")["spec"]
    body = {"apiVersion": "workload.linkerd.io/v1beta1", "kind": "ExternalWorkload", "metadata": {"name": "twin"}}
    operator.server.must("POST", path, {**body, "spec": spec})
    report = json.loads(check(operator, NAME, "-n", operator.namespace, "--json").out)
    (host,) = report["hosts"].values()
    unique = next(one for one in host if one["name"] == "unique")
    assert (
        unique["result"] == "fail" and f"{operator.namespace}/twin has the same address and port" in unique["why"]
    )


def policy(operator: Operator, kind: str, name: str, spec: dict[str, Any]) -> None:
    version = "v1beta3" if kind == "Server" else "v1alpha1"
    api = f"policy.linkerd.io/{version}"
    path = f"/apis/{api}/namespaces/{operator.namespace}/{policy_kinds.PLURALS[kind]}"
    body = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}
    operator.server.must("POST", path, body)


def test_servers_and_policies_that_no_host_satisfies(operator: Operator) -> None:
    selector = {"externalWorkloadSelector": {"matchLabels": {"app": "db"}}}
    policy(operator, "Server", "pg", {**selector, "port": 5432})
    seen = found(operator)
    assert "app=5432: Server pg" in seen["servers"]["why"]
    assert seen["clients"]["result"] == "fail" and "no AuthorizationPolicy admits" in seen["clients"]["why"]
    policy(operator, "MeshTLSAuthentication", "pods", {"identities": ["*"]})
    target = {"group": "policy.linkerd.io", "kind": "Server", "name": "pg"}
    required = [{"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": "pods"}]
    policy(operator, "AuthorizationPolicy", "pg", {"targetRef": target, "requiredAuthenticationRefs": required})
    seen = found(operator)
    assert seen["clients"]["result"] == "warn" and "MeshTLSAuthentication pods" in seen["clients"]["why"]
    assert f"MeshTLSAuthentication {operator.namespace}/pods" in seen["patterns"]["why"]


def test_what_is_installed_is_compared_with_this_version(operator: Operator) -> None:
    assert found(operator)["flow-schema"]["result"] in ("warn", "ok")
    file = Path(__file__).parents[2] / "config/cluster/heartbeats.yaml"
    paths = {"PriorityLevelConfiguration": "prioritylevelconfigurations", "FlowSchema": "flowschemas"}
    flow = "/apis/flowcontrol.apiserver.k8s.io/v1"
    for body in yaml.safe_load_all(file.read_text()):
        answer = operator.server.request("POST", f"{flow}/{paths[body['kind']]}", body)
        assert answer.status in (201, 409), answer.body
    one = found(operator)["flow-schema"]
    assert (one["result"], one["why"]) == ("ok", "heartbeats.yaml, of this version")
    schema = f"{flow}/flowschemas/fairlead-heartbeats"
    patch(operator, schema, {"spec": {"matchingPrecedence": 901}})
    try:
        one = found(operator)["flow-schema"]
        assert (
            one["result"] == "warn" and "FlowSchema fairlead-heartbeats at spec.matchingPrecedence" in one["why"]
        )
    finally:
        patch(operator, schema, {"spec": {"matchingPrecedence": 900}})


def test_it_changes_nothing(operator: Operator) -> None:
    before = [operator.get(kind) for kind in ("externalworkloads", "leases")]
    assert check(operator, "-A").code in (0, 2)
    assert [operator.get(kind) for kind in ("externalworkloads", "leases")] == before


def test_a_user_without_rights_learns_which_are_missing(operator: Operator) -> None:
    accounts = f"/api/v1/namespaces/{operator.namespace}/serviceaccounts"
    operator.server.must("POST", accounts, {"metadata": {"name": "nobody"}})
    token = operator.server.must("POST", f"{accounts}/nobody/token", {"spec": {"expirationSeconds": 3600}})
    operator.write_kubeconfig(token["status"]["token"])
    done = check(operator)
    assert done.code != 2 or "operator.yaml" in done.out, done.out + done.err
    assert "externalworkloads" in done.out + done.err and "Traceback" not in done.err


def test_a_name_that_does_not_exist(operator: Operator) -> None:
    done = check(operator, "nobody", "-n", operator.namespace)
    assert done.code == 1 and f"no ExternalWorkload nobody in the namespace {operator.namespace}" in done.err
