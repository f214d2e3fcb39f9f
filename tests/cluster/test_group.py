"""WorkloadGroups on a real kube-apiserver: the rules of the shipped kind, members, and `fairlead group sync`."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.config import Config, parse
from agent.core import toml_text
from agent.core.enrol import bundle
from tests.cluster.operator import Done, Operator, run
from tests.contract.jwt_worlds import CLUSTER
from tests.lab.realparts import ApiServer

pytestmark = pytest.mark.real
Json = dict[str, Any]
GROUP: Json = {
    "apiVersion": "workload.fairlead.dev/v1beta1",
    "kind": "WorkloadGroup",
    "metadata": {"name": "db"},
    "spec": {
        "template": {
            "metadata": {"labels": {"app": "db"}, "annotations": {"team": "storage"}},
            "spec": {
                "ports": [{"name": "app", "port": 5432}, {"port": 3306, "opaque": True}],
                "probes": [{"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 3}],
            },
        },
        "meshTLS": {"identity": "spiffe://example.org/{namespace}/{group}/{name}"},
        "networks": ["198.18.0.0/15"],
        "host": {"podNetworks": ["10.42.0.0/16"], "audience": "api", "leasePeriodSeconds": 20},
    },
}


@pytest.fixture
def operator(real_apiserver: ApiServer, tmp_path: Path) -> Operator:
    made = Operator(real_apiserver, tmp_path)
    made.install_linkerd()
    real_apiserver.install_crd(yaml.safe_load((CLUSTER / "workloadgroup.yaml").read_text()))
    return made


def groups(operator: Operator, name: str = "") -> str:
    return f"/apis/workload.fairlead.dev/v1beta1/namespaces/{operator.namespace}/workloadgroups" + name


def changed(change: Callable[[Json], object]) -> Json:
    body = copy.deepcopy(GROUP)
    change(body)
    return body


def enrol(operator: Operator, name: str, address: str, *words: str) -> Done:
    where = ("--address", address, "--group", "db", "--api-server", operator.server.url)
    bundle_words = ("--bundle", str(operator.bundle(name)), "--linkerd-namespace", operator.namespace)
    return operator.run("enrol", name, *where, *bundle_words, *words)


def spec(body: Json) -> Json:
    found: Json = body["spec"]
    return found


def inner(body: Json) -> Json:
    return spec(spec(body)["template"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b["metadata"].update(name="d.b"), "at most 63 characters, and no dots"),
        (lambda b: b["metadata"].update(name="d" * 64), "at most 63 characters, and no dots"),
        (lambda b: spec(b)["meshTLS"].update(identity="spiffe://example.org/db"), "set shared: true"),
        (lambda b: spec(b)["meshTLS"].update(identity="{name}.example.org"), "identity is a SPIFFE ID"),
        (lambda b: spec(b).update(networks=["198.18.0.1"]), "a network is written like"),
        (lambda b: inner(b)["ports"].append({"port": 22}), "the port of SSH"),
        (lambda b: inner(b).update(probes=[{"exec": {"command": ["true"]}}]), "exec probes are refused"),
        (lambda b: inner(b).update(probes=[{"periodSeconds": 1}]), "exactly one of httpGet, tcpSocket and grpc"),
        (lambda b: inner(b).update(ports=[]), "spec.template.spec.ports"),
        (lambda b: spec(b)["host"].update(leasePeriodSeconds=4), "spec.host.leasePeriodSeconds"),
        (lambda b: spec(b)["host"].update(leasePeriodSeconds=61), "spec.host.leasePeriodSeconds"),
    ],
)
def test_a_rule_of_the_kind_says_what_is_wrong(
    operator: Operator, change: Callable[[Json], object], said: str
) -> None:
    answer = operator.server.request("POST", groups(operator), changed(change))
    assert answer.status == 422 and said in answer.body["message"], answer.body["message"]


def test_columns_show_how_the_members_are(operator: Operator) -> None:
    """What `kubectl get workloadgroups` prints; nothing where no status was written yet."""
    merge, status = "application/merge-patch+json", {"members": 7, "ready": 4, "unreachable": 2, "outdated": 3}
    operator.server.must("POST", groups(operator), GROUP)
    operator.server.must("POST", groups(operator), changed(lambda body: body["metadata"].update(name="web")))
    operator.server.must("PATCH", groups(operator, "/db/status"), {"status": status}, content_type=merge)
    identity = spec(GROUP)["meshTLS"]["identity"]
    assert columns(operator) == [
        {"Name": "db", "Identity": identity, "Members": 7, "Ready": 4, "Unreachable": 2, "Outdated": 3},
        {
            "Name": "web",
            "Identity": identity,
            "Members": None,
            "Ready": None,
            "Unreachable": None,
            "Outdated": None,
        },
    ]


def columns(operator: Operator) -> list[Json]:
    """Of each group, but for the age, which grows."""
    table = operator.server.must("GET", groups(operator), accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    names = [one["name"] for one in table["columnDefinitions"]]
    assert table["kind"] == "Table" and names[-1] == "Age"
    rows = [dict(zip(names, row["cells"], strict=True)) for row in table["rows"]]
    assert all(row.pop("Age") for row in rows)
    return rows


def test_members_are_what_the_group_says(operator: Operator) -> None:
    operator.server.must("POST", groups(operator), GROUP)
    done = enrol(operator, "db-1", "198.18.200.1")
    assert done.code == 0, done.err
    own = ("--label", "zone=b", "--lease-period", "7")
    assert enrol(operator, "db-2", "198.18.200.2", *own).code == 0
    body = operator.get("externalworkloads", "db-1")
    identity = f"spiffe://example.org/{operator.namespace}/db/db-1"
    assert body["spec"]["meshTLS"]["identity"] == identity
    assert [port["port"] for port in body["spec"]["ports"]] == [5432, 3306]
    assert body["metadata"]["labels"] == {"app": "db", "workloadGroup": "db"}
    annotations = body["metadata"]["annotations"]
    assert (annotations["team"], annotations["config.linkerd.io/opaque-ports"]) == ("storage", "3306")
    mark = "fairlead.dev/group-hash"
    assert operator.get("leases", "db-1")["metadata"]["annotations"][mark] == annotations[mark]
    assert operator.get("externalworkloads", "db-2")["metadata"]["labels"]["zone"] == "b"
    assert operator.server.must("GET", groups(operator, "/db"))["status"]["members"] == 2
    config = joined(operator, "db-1")
    assert (config.api.lease_period, joined(operator, "db-2").api.lease_period) == (20, 7)
    (probe,) = config.probes
    assert (probe.kind, probe.path, probe.port, probe.period, config.api.audience) == (
        "http",
        "/healthz",
        8080,
        3,
        "api",
    )


def joined(operator: Operator, name: str) -> Config:
    """What the host's file has after `fairlead join`."""
    return parse(toml_text.text(bundle.read(operator.bundle(name).read_text()).config))


def test_an_address_outside_the_networks_is_refused(operator: Operator) -> None:
    operator.server.must("POST", groups(operator), GROUP)
    refused = enrol(operator, "db-1", "203.0.113.7")
    label = f"WorkloadGroup {operator.namespace}/db"
    assert refused.code == 1 and f"203.0.113.7 is not in the networks of {label}" in refused.err, refused.err
    assert not operator.has("externalworkloads", "db-1")


def test_members_with_one_identity_have_their_own_at_the_api_server(operator: Operator) -> None:
    shared = {"identity": "spiffe://example.org/{namespace}/all", "shared": True, "serverName": "all.example.org"}
    operator.server.must("POST", groups(operator), changed(lambda body: spec(body).update(meshTLS=shared)))
    for number in ("1", "2"):
        done = enrol(operator, f"db-{number}", f"198.18.201.{number}")
        assert done.code == 0, done.err
        annotations = operator.get("externalworkloads", f"db-{number}")["metadata"]["annotations"]
        user = f"spiffe://example.org/{operator.namespace}/all/db-{number}/agent"
        assert annotations["fairlead.dev/host"] == user and user in done.out
        assert bundle.read(operator.bundle(f"db-{number}").read_text()).config["api"]["identity"] == user


def test_sync_brings_members_to_the_template(operator: Operator) -> None:
    operator.server.must("POST", groups(operator), GROUP)
    for number in ("1", "2"):
        assert enrol(operator, f"db-{number}", f"198.18.202.{number}").code == 0
    change = {"spec": {"template": {"metadata": {"labels": {"tier": "gold"}}}}}
    merge = "application/merge-patch+json"
    operator.server.must("PATCH", groups(operator, "/db"), change, content_type=merge)
    words = ("db", "-n", operator.namespace, "--kubeconfig", str(operator.kubeconfig))
    tried = sync(*words, "--dry-run")
    assert tried.out.splitlines()[-1] == "2 members, 2 of them outdated", tried.err
    assert "tier" not in operator.get("externalworkloads", "db-1")["metadata"]["labels"]
    assert outdated(operator) == [("db-1", "outdated"), ("db-2", "outdated")]
    assert sync(*words).code == 0 and outdated(operator) == []
    for number in ("1", "2"):
        labels = operator.get("externalworkloads", f"db-{number}")["metadata"]["labels"]
        assert labels == {"app": "db", "tier": "gold", "workloadGroup": "db"}
    assert operator.server.must("GET", groups(operator, "/db"))["status"]["outdated"] == 0
    moved = {"spec": {"meshTLS": {"identity": "spiffe://example.org/{namespace}/new/{name}"}}}
    operator.server.must("PATCH", groups(operator, "/db"), moved, content_type=merge)
    refused = sync(*words)
    assert refused.code == 1 and "join with the new bundle" in refused.err
    there = operator.get("externalworkloads", "db-1")["spec"]["meshTLS"]["identity"]
    assert there == f"spiffe://example.org/{operator.namespace}/db/db-1", "a serving host keeps its identity"


def outdated(operator: Operator) -> list[tuple[str, str]]:
    words = ("-n", operator.namespace, "--group", "db", "--outdated", "-o", "json")
    done = run("list", *words, "--kubeconfig", str(operator.kubeconfig))
    assert done.code == 0, done.err
    return [(row["name"], row["template"]) for row in json.loads(done.out)]


def sync(*words: str) -> Done:
    return run("group", "sync", *words)
