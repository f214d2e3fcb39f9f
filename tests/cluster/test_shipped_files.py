"""A real kube-apiserver takes every manifest of config/cluster, field for field.

The rules and rights in them are tested where they apply.
"""

import json
import string
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.sandbox.api.schema import EXTERNAL_WORKLOAD_CRD
from tests.contract.jwt_worlds import CLUSTER
from tests.lab.realparts import ApiServer
from tests.watcher import watching

pytestmark = pytest.mark.real
OF_THE_SERVER = "authentication.yaml"  # a file that kube-apiserver itself is started with
NAMES = {
    "NAME": "vm-1",
    "HOST": "spiffe://example.org/vm-1",
    "UID_OF_WORKLOAD": "8c8d7f0e-4a5c-4a10-9d1c-1d2f6f0f8c11",
    "IDENTITY": "spiffe://example.org/vm-1",
    "ADDRESS": "192.0.2.7",
    "PORT": "8080",
    "APP": "db",
    "ACCOUNT": "vm-1-mesh",
    "OPERATORS": "operators",
    "IMAGE": "registry.example/fairlead:0",
}
FILES = sorted(path for path in CLUSTER.glob("*.yaml") if path.name != OF_THE_SERVER)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_every_document_is_taken(real_apiserver: ApiServer, file: Path) -> None:
    real_apiserver.install_crd(EXTERNAL_WORKLOAD_CRD)
    create_system(real_apiserver)
    namespace = real_apiserver.new_namespace()
    # Comments have commands of a shell, with its own variables.
    filled = string.Template(file.read_text()).safe_substitute(NAMES, NAMESPACE=namespace, LINKERD=namespace)
    documents = [one for one in yaml.safe_load_all(filled) if one]
    assert documents and "${" not in json.dumps(documents)
    for body in documents:
        query = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "test", "force": "true"}
        kind = "application/apply-patch+yaml"
        answer = real_apiserver.request("PATCH", path(real_apiserver, body), body, content_type=kind, query=query)
        assert answer.status in (200, 201), (body["kind"], body["metadata"]["name"], answer.body.get("message"))


def test_a_field_that_does_not_exist_is_not_taken(real_apiserver: ApiServer) -> None:
    """So the test above would see a misspelt one."""
    (job,) = [
        one
        for one in yaml.safe_load_all((CLUSTER / "watcher-retire.yaml").read_text())
        if one["kind"] == "CronJob"
    ]
    job["spec"]["jobTemplate"]["spec"]["backofflimit"] = 0
    create_system(real_apiserver)
    query = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "test", "force": "true"}
    kind = "application/apply-patch+yaml"
    answer = real_apiserver.request("PATCH", path(real_apiserver, job), job, content_type=kind, query=query)
    assert answer.status in (400, 500) and "backofflimit" in answer.body["message"], answer.body


def create_system(server: ApiServer) -> None:
    """The namespace of watcher.yaml, which others need."""
    (body,) = [one for one in watching.manifests() if one["kind"] == "Namespace"]
    assert server.request("POST", "/api/v1/namespaces", body).status in (201, 409)


def path(server: ApiServer, body: dict[str, Any]) -> str:
    """As kubectl finds it: by what the server says of its kinds."""
    version = body["apiVersion"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    kinds = server.must("GET", base)["resources"]
    (found,) = [one for one in kinds if one["kind"] == body["kind"] and "/" not in one["name"]]
    meta = body["metadata"]
    within = f"/namespaces/{meta['namespace']}" if found["namespaced"] else ""
    return f"{base}{within}/{found['name']}/{meta['name']}"
