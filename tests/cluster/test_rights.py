"""The shipped rights on a real kube-apiserver: of an operator, of a fleet, and the queue of heartbeats."""

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from agent.core.doctor import cluster_checks
from agent.core.reasons import Fault, Reason
from tests.cluster.operator import NAME, Operator, new_address, run
from tests.contract import jwt_worlds
from tests.contract.jwt_worlds import AUDIENCE, CLUSTER, Issuer, manifests
from tests.contract.status_worlds import HttpWorld
from tests.lab.realparts import ApiServer

pytestmark = pytest.mark.real
GROUP = {
    "apiVersion": "workload.fairlead.dev/v1beta1",
    "kind": "WorkloadGroup",
    "metadata": {"name": "db"},
    "spec": {
        "template": {"metadata": {}, "spec": {"ports": [{"port": 5432}]}},
        "meshTLS": {"identity": "spiffe://example.org/{namespace}/{name}"},
    },
}
WITHIN = 60.0  # seconds in which policies and rights are in force
_COLLECTIONS = {
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "FlowSchema": "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
    "PriorityLevelConfiguration": "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
}


@pytest.fixture
def admin(issuing: tuple[Issuer, ApiServer], tmp_path: Path) -> Operator:
    made = Operator(issuing[1], tmp_path)
    made.install_linkerd()
    return made


def apply(server: ApiServer, file: str, **names: str) -> dict[str, str]:
    """Each document of a file of config/cluster; kind → uid."""
    uids = {}
    for document in manifests(file, **names):
        body = yaml.safe_load(document)
        path = _COLLECTIONS[body["kind"]].format(names.get("NAMESPACE", ""))
        made = server.request("POST", path, body)
        assert made.status in (201, 409), made.body
        uids[body["kind"]] = server.must("GET", f"{path}/{body['metadata']['name']}")["metadata"]["uid"]
    return uids


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WITHIN
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def test_an_operator_needs_no_more_than_its_file(admin: Operator) -> None:
    """Another user can do nothing, and says which right is missing."""
    namespace = admin.namespace
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    admin.server.must("POST", accounts, {"metadata": {"name": "operator"}})
    token = admin.server.must("POST", f"{accounts}/operator/token", {"spec": {"expirationSeconds": 3600}})
    admin.write_kubeconfig(token["status"]["token"])
    admin.server.install_crd(yaml.safe_load((CLUSTER / "workloadgroup.yaml").read_text()))
    groups = f"/apis/workload.fairlead.dev/v1beta1/namespaces/{namespace}/workloadgroups"
    admin.server.must("POST", groups, GROUP)
    refused = admin.enrol()
    assert refused.code == 1 and "config/cluster/operator.yaml" in refused.err, refused.err
    apply(admin.server, "operator.yaml", NAMESPACE=namespace, OPERATORS=f"system:serviceaccounts:{namespace}")
    until(lambda: admin.enrol().code == 0, "the operator can enrol")
    assert admin.has("rolebindings", f"fairlead-host-{NAME}")
    done = run("check", "--kubeconfig", str(admin.kubeconfig), "--linkerd-namespace", namespace, "--json")
    report = json.loads(done.out)
    said = [*report["checks"], *report["hosts"][f"{namespace}/{NAME}"]]
    assert {one["name"] for one in said} == {one.name for one in (*cluster_checks.CLUSTER, *cluster_checks.HOST)}
    assert [one["why"] for one in said if Fault(Reason.API_FORBIDDEN).way_out in one["why"]] == []
    enrolled = admin.enrol("--group", "db", name="db-2", address=new_address())
    assert enrolled.code == 0, enrolled.err
    for words in (
        ("list", "-n", namespace, "--group", "db"),
        ("group", "sync", "db", "-n", namespace),
        ("enrol", NAME, "-n", namespace, "--replace", "--dry-run"),
    ):
        done = run(*words, "--kubeconfig", str(admin.kubeconfig))
        assert done.code == 0, (words, done.err)
    retired = admin.run("retire", NAME)
    assert retired.code == 75 and not admin.has("rolebindings", f"fairlead-host-{NAME}"), retired.err


def patched(server: ApiServer, path: str, token: str, change: object) -> tuple[int, str, str]:
    """Status, message, and the uid of the FlowSchema that the server used."""
    context = ssl.create_default_context(cafile=str(server.ca_file))
    host = server.url.removeprefix("https://")
    connection = http.client.HTTPSConnection(host, timeout=10, context=context)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
        connection.request("PATCH", path, json.dumps(change), headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        return answer.status, body.get("message", ""), answer.getheader("X-Kubernetes-PF-FlowSchema-UID", "")
    finally:
        connection.close()


async def test_one_role_serves_a_fleet_and_each_host_writes_only_itself(
    admin: Operator, issuing: tuple[Issuer, ApiServer]
) -> None:
    issuer, server = issuing
    world = HttpWorld(server.url, server.ca_file, server.admin_token, admin.namespace, admin.folder / "token")
    try:
        await jwt_worlds.admit(world)
    finally:
        await world.close()
    await asyncio.to_thread(_fleet, admin, issuer, server)


def _fleet(admin: Operator, issuer: Issuer, server: ApiServer) -> None:
    for name in ("a", "b"):
        assert admin.enrol(name=name, address=new_address()).code == 0
        binding = admin.path("rolebindings", f"fairlead-host-{name}")
        server.must("DELETE", binding)
    apply(server, "fleet.yaml", NAMESPACE=admin.namespace)
    uid = apply(server, "heartbeats.yaml")["FlowSchema"]
    token = issuer.keys.sign(f"{admin.identity_of('a')}/agent", [AUDIENCE], 300)
    of_proxy = issuer.keys.sign(admin.identity_of("a"), [AUDIENCE], 300)
    mine, others = admin.path("leases", "a"), admin.path("leases", "b")
    change = {"spec": {"holderIdentity": "a"}}
    until(lambda: patched(server, mine, token, change)[0] == 200, "the fleet's role is in force")
    until(lambda: patched(server, mine, token, change)[2] == uid, "heartbeats have a level of their own")
    until(lambda: patched(server, others, token, change)[0] == 422, "the policy is in force")
    assert "renew its own Lease only" in patched(server, others, token, change)[1]
    status, said, level = patched(server, mine, of_proxy, change)
    assert (status, level != uid) == (403, True), said
