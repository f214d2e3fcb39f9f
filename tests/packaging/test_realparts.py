"""The real parts start, answer and end; what they judge is tested elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.realparts import ApiServer, RealPartMissing, judge_x509, where

GROUP = "test.fairlead.dev"
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"buoys.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "buoys", "singular": "buoy", "kind": "Buoy"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
BUOY = {"apiVersion": f"{GROUP}/v1", "kind": "Buoy", "metadata": {"name": "red"}}


def buoys(namespace: str) -> str:
    return f"/apis/{GROUP}/v1/namespaces/{namespace}/buoys"


def test_the_apiserver_tells_a_version_that_clients_can_parse(real_apiserver: ApiServer) -> None:
    version = real_apiserver.must("GET", "/version")
    assert (version["major"], version["minor"]) == ("1", "36")
    assert version["gitVersion"].startswith("v1.36.")


def test_a_new_kind_is_served_with_its_status(real_apiserver: ApiServer, real_namespace: str) -> None:
    real_apiserver.install_crd(CRD)
    real_apiserver.install_crd(CRD)
    real_apiserver.must("POST", buoys(real_namespace), BUOY)
    path = f"{buoys(real_namespace)}/red/status"
    patch = {"status": {"lit": True}}
    real_apiserver.must("PATCH", path, patch, content_type="application/merge-patch+json")
    assert real_apiserver.must("GET", path)["status"] == {"lit": True}


def test_the_host_may_do_what_it_was_granted_and_no_more(real_apiserver: ApiServer, real_namespace: str) -> None:
    real_apiserver.install_crd(CRD)
    token = real_apiserver.host_token
    assert real_apiserver.request("GET", buoys(real_namespace), token=token).status == 403
    real_apiserver.grant(real_namespace, [{"apiGroups": [GROUP], "resources": ["buoys"], "verbs": ["list"]}])
    assert real_apiserver.request("GET", buoys(real_namespace), token=token).status == 200
    assert real_apiserver.request("POST", buoys(real_namespace), BUOY, token=token).status == 403


def test_an_unknown_token_is_nobody(real_apiserver: ApiServer) -> None:
    assert real_apiserver.request("GET", "/api/v1/namespaces", token="stranger").status == 401


async def test_the_judge_names_an_absent_workload_api(judge: Path, tmp_path: Path) -> None:
    code, lines = await judge_x509(judge, tmp_path / "absent.sock")
    assert (code, [line["error"] for line in lines]) == (1, ["Unavailable"])


async def test_a_patient_judge_ends_with_its_time(judge: Path, tmp_path: Path) -> None:
    code, lines = await judge_x509(judge, tmp_path / "absent.sock", timeout=0.2, retry=True)
    assert (code, [line["error"] for line in lines]) == (1, ["Unavailable", "DeadlineExceeded"])


@pytest.mark.usefixtures("root")
async def test_the_judge_asks_as_another_user(judge: Path, tmp_path: Path) -> None:
    code, lines = await judge_x509(judge, tmp_path / "absent.sock", uid=65534)
    assert (code, len(lines)) == (1, 1), json.dumps(lines)


def test_a_part_that_is_not_built_names_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RealPartMissing, match="make test"):
        where("etcd")
