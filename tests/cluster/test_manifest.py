"""`fairlead manifest`: a real kube-apiserver takes it strictly, and its objects fit together."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import policy_kinds
from tests.cluster.operator import Done, Operator, run
from tests.contract.jwt_worlds import CLUSTER
from tests.lab.realparts import ApiServer

CLIENTS = ("spiffe://root.linkerd.cluster.local/web-1", "web.shop.serviceaccount.identity.linkerd.cluster.local")
HOST = ("--address", "192.0.2.10", "--identity", "spiffe://example.org/{name}", "--label", "app=db")
PORTS = ("--port", "app=5432", "--port", "3306/opaque")
ALLOW = tuple(word for client in CLIENTS for word in ("--client", client))

GROUP = ("-n", "shop", "--as-group", "--identity", "spiffe://example.org/{name}")
_PLURALS = {
    "ExternalWorkload": "externalworkloads",
    "Service": "services",
    "WorkloadGroup": "workloadgroups",
}


def printed(*words: str) -> list[dict[str, Any]]:
    done = run("manifest", "db-1", "-n", "shop", *HOST, *words)
    assert done.code == 0, done.err
    return list(yaml.safe_load_all(done.out))


def collection(body: dict[str, Any], namespace: str) -> str:
    plural = {**_PLURALS, **policy_kinds.PLURALS}[body["kind"]]
    version = body["apiVersion"]
    return f"/{'apis' if '/' in version else 'api'}/{version}/namespaces/{namespace}/{plural}"


@pytest.mark.real
@pytest.mark.parametrize("version", ["2.15", "2.18"])
def test_the_api_server_takes_it_strictly(real_apiserver: ApiServer, tmp_path: Path, version: str) -> None:
    bodies = printed(*PORTS, *ALLOW, "--linkerd-version", version)
    strictly(real_apiserver, tmp_path, bodies)
    policies = {"Server", "MeshTLSAuthentication", "AuthorizationPolicy"}
    assert {body["kind"] for body in bodies} == {"ExternalWorkload", "Service", *policies}


@pytest.mark.real
def test_the_api_server_takes_that_of_a_group_strictly(real_apiserver: ApiServer, tmp_path: Path) -> None:
    bodies = list(yaml.safe_load_all(manifest_of_group().out))
    strictly(real_apiserver, tmp_path, bodies)
    group, service, *policies = bodies
    assert group["spec"]["networks"] == ["192.0.2.0/24"]
    assert group["spec"]["template"]["spec"]["ports"] == [
        {"name": "app", "port": 5432},
        {"port": 3306, "opaque": True},
    ]
    selected = {body["spec"]["externalWorkloadSelector"]["matchLabels"]["app"] for body in policies[:2]}
    assert selected == {service["spec"]["selector"]["app"]} == {"db"}


def test_a_group_without_labels_is_selected_by_its_name() -> None:
    _, service = yaml.safe_load_all(run("manifest", "db", *GROUP, "--port", "5432").out)
    assert service["metadata"]["name"] == "db" and service["spec"]["selector"] == {"workloadGroup": "db"}


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("db.x", (), "use db-x"),
        ("db", ("--identity", "spiffe://example.org/db"), "has no {name}"),
        ("db", ("--address", "192.0.2.10"), "--address is of one host"),
        ("db", ("--network", "192.0.2.0/33"), "'192.0.2.0/33' is not a network"),
        ("db", ("--client", "*.shop"), "is a pattern"),
    ],
)
def test_a_group_that_cannot_be_is_refused(name: str, words: tuple[str, ...], said: str) -> None:
    done = run("manifest", name, *GROUP, "--port", "5432", *words)
    assert (done.code, done.out) == (1, "") and said in done.err, done.err


def manifest_of_group() -> Done:
    words = ("--label", "app=db", "--network", "192.0.2.0/24", "--pod-network", "10.42.0.0/16")
    done = run("manifest", "db", *GROUP, *words, *PORTS, *ALLOW)
    assert done.code == 0, done.err
    return done


def strictly(server: ApiServer, folder: Path, bodies: list[dict[str, Any]]) -> None:
    operator = Operator(server, folder)
    group = yaml.safe_load((CLUSTER / "workloadgroup.yaml").read_text())
    for one in (*policy_kinds.definitions(), group):
        server.install_crd(one)
    for body in bodies:
        body["metadata"]["namespace"] = operator.namespace
        query = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "test"}
        path = f"{collection(body, operator.namespace)}/{body['metadata']['name']}"
        kind = "application/apply-patch+yaml"
        answer = server.request("PATCH", path, body, content_type=kind, query=query)
        assert answer.status in (200, 201), (body["kind"], answer.body)


def test_its_parts_name_each_other() -> None:
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for body in printed(*PORTS, *ALLOW):
        by_kind.setdefault(body["kind"], []).append(body)
    (workload,), (service,) = by_kind["ExternalWorkload"], by_kind["Service"]
    assert service["spec"]["selector"].items() <= workload["metadata"]["labels"].items()
    assert "status" not in workload
    servers = {body["metadata"]["name"]: body["spec"] for body in by_kind["Server"]}
    assert {spec["port"]: spec.get("proxyProtocol") for spec in servers.values()} == {5432: None, 3306: "opaque"}
    (clients,) = by_kind["MeshTLSAuthentication"]
    assert clients["spec"]["identities"] == list(CLIENTS)
    for policy in by_kind["AuthorizationPolicy"]:
        assert policy["spec"]["targetRef"]["name"] in servers
        assert [one["name"] for one in policy["spec"]["requiredAuthenticationRefs"]] == [
            clients["metadata"]["name"]
        ]


def test_without_clients_there_is_no_server_that_refuses_everyone() -> None:
    assert [body["kind"] for body in printed(*PORTS)] == ["ExternalWorkload", "Service"]


def test_what_linkerd_would_ignore_is_refused() -> None:
    done = run("manifest", "db-1", "-n", "shop", *HOST, "--client", "*")
    assert done.code == 1 and "no SPIFFE ID matches" in done.err and "the host has no port" in done.err
