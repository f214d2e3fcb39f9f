"""`fairlead import`: manifests in the shapes of guides; a real kube-apiserver takes strictly what it prints."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import policy_kinds
from tests.cluster.guides import GUIDES
from tests.cluster.operator import Done, Operator, run
from tests.cluster.test_manifest import collection
from tests.contract.jwt_worlds import CLUSTER
from tests.lab.realparts import ApiServer

IDENTITY = ("--identity", "spiffe://example.org/{name}")
OF_KUBERNETES = {
    "ServiceAccount": "serviceaccounts",
    "Pod": "pods",
    "Deployment": "deployments",
}


def imported(folder: Path, text: str, *words: str) -> Done:
    file = folder / "guide.yaml"
    file.write_text(text)
    return run("import", str(file), *words)


def strictly(server: ApiServer, body: dict[str, Any], namespace: str) -> None:
    body["metadata"]["namespace"] = namespace
    query = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "test"}
    if plural := OF_KUBERNETES.get(body["kind"]):
        version = body["apiVersion"]
        path = f"/{'apis' if '/' in version else 'api'}/{version}/namespaces/{namespace}/{plural}"
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


def test_what_belongs_to_pods_stays(tmp_path: Path) -> None:
    done = imported(tmp_path, GUIDES["a tour: a host and pods behind one Service, and a policy for the pods"][0])
    server = next(body for body in yaml.safe_load_all(done.out) if body["kind"] == "Server")
    assert server["spec"]["podSelector"] == {"matchLabels": {"app": "old"}}, done.err


def test_members_have_what_their_group_has(tmp_path: Path) -> None:
    text, _ = GUIDES["a group with short probes, members that inherit, and a policy"]
    done = imported(tmp_path, text.replace("example.org/cache", "example.org/{group}/{name}"))
    first, second = (body for body in yaml.safe_load_all(done.out) if body["kind"] == "ExternalWorkload")
    assert first["spec"]["meshTLS"]["identity"] == "spiffe://example.org/cache/cache-1", done.err
    assert [port["port"] for port in first["spec"]["ports"]] == [6379, 26379, 9121]
    assert [port["port"] for port in second["spec"]["ports"]] == [6379, 26379]
    labels = {"app": "cache", "tier": "back", "workloadGroup": "cache", "instance": "2"}
    assert second["metadata"]["labels"] == labels


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("192.0.2.8", "$MACHINE_IP", "has the address $MACHINE_IP, which is not an IP address"),
        ("workloadIPs: [{ip: 192.0.2.8}]", "ports: []", "has no workloadIPs"),
        ("port: cache", "port: http", "has a probe of port http, which its template lacks"),
        (
            "ports: [{name: cache, port: 6379, protocol: TCP}, {name: watch, port: 26379, protocol: TCP}]",
            "",
            "ports",
        ),
        ("", "", "has one meshTLS.identity for all members, spiffe://example.org/cache"),
    ],
)
def test_what_cannot_be_converted_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    text, _ = GUIDES["a group with short probes, members that inherit, and a policy"]
    done = imported(tmp_path, text.replace(old, new) if old else text, *(IDENTITY if old else ()))
    assert (done.code, done.out) == (1, "") and said in done.err, done.err


def test_two_manifests_without_a_line_between_them_are_not_one(tmp_path: Path) -> None:
    text, _ = GUIDES["clients by patterns, for a Server and for a policy"]
    done = imported(tmp_path, text.replace("---\n", "", 1))
    assert done.code == 1 and "has apiVersion for the second time in one object" in done.err, done.err
    assert "---" in done.err and done.out == ""
    assert imported(tmp_path, "a: &b {c: *b}\n").code == 1, "an alias of itself"
