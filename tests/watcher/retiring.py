"""What the tests of `fairlead retire --due` share: its account, and silent members of a group."""

import time
from pathlib import Path
from typing import Any

import yaml

from tests.watcher.watching import COLLECTIONS, MERGE, SYSTEM, WITHIN, Fleet, install_group

MANIFEST = Path(__file__).parents[2] / "config/cluster/watcher-retire.yaml"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}"
GONE = ("Ready", "Unknown", "HostUnreachable")
CRONJOBS = "/apis/batch/v1/namespaces/{}/cronjobs"


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(MANIFEST.read_text().replace("${IMAGE}", "registry.example/fairlead:0")))


def pod() -> dict[str, Any]:
    """The template of the CronJob's pods."""
    (job,) = [one for one in manifests() if one["kind"] == "CronJob"]
    return dict(job["spec"]["jobTemplate"]["spec"]["template"])


def install(fleet: Fleet) -> str:
    """A token of the account that retires, its rights in force; the watcher's manifest made the namespace."""
    for document in manifests():
        path = {**COLLECTIONS, "CronJob": CRONJOBS}[document["kind"]].format(SYSTEM)
        answer = fleet.server.request("POST", path, document)
        assert answer.status in (201, 409), answer.body
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{pod()['spec']['serviceAccountName']}/token"
    made = str(fleet.server.must("POST", path, {"spec": {"expirationSeconds": 3600}})["status"]["token"])
    in_force(fleet, made)
    return made


def in_force(fleet: Fleet, token: str) -> None:
    """Rights and policies reach the server's caches some seconds after they were written."""
    fleet.enrol("probe")
    end = time.monotonic() + WITHIN
    while ask(fleet, token, "DELETE", f"{fleet.workloads}/probe") != 422 or role(fleet, token, "other") != 422:
        assert time.monotonic() < end
        time.sleep(0.1)


def role(fleet: Fleet, token: str, name: str, **labels: str) -> int:
    """What it answers to a deletion of that Role."""
    roles = RBAC.format(fleet.namespace) + "/roles"
    fleet.server.request("POST", roles, {"metadata": {"name": name, "labels": labels}, "rules": []})
    return ask(fleet, token, "DELETE", f"{roles}/{name}")


def ask(fleet: Fleet, token: str, method: str, path: str, body: object = None) -> int:
    if method == "DELETE":
        return fleet.server.request(method, path, body, token=token, query={"dryRun": "All"}).status
    return fleet.server.request(method, path, body, token=token, content_type=MERGE).status


def members(fleet: Fleet, *names: str) -> str:
    """Silent members of a group; returns its path."""
    group = install_group(fleet, "db")
    fleet.patch(group, {"spec": {"retire": {"after": 2}}})
    for name in names:
        fleet.enrol(name)
        fleet.patch(f"{fleet.workloads}/{name}", {"metadata": {"labels": {"workloadGroup": "db"}}})
        fleet.report(name, GONE)
        rights = RBAC.format(fleet.namespace)
        meta = {"name": f"fairlead-host-{name}", "labels": {"app.kubernetes.io/managed-by": "fairlead"}}
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": meta["name"]}
        fleet.server.must("POST", f"{rights}/roles", {"metadata": meta, "rules": []})
        fleet.server.must("POST", f"{rights}/rolebindings", {"metadata": meta, "roleRef": ref, "subjects": []})
    return group


def say_due(fleet: Fleet, group: str, *names: str, hours: int = 48) -> None:
    """As the watcher writes it."""
    silent = [
        {
            "name": name,
            "uid": meta(fleet, fleet.workloads, name)["uid"],
            "lease": meta(fleet, fleet.leases, name)["resourceVersion"],
            "hours": hours,
            "due": True,
        }
        for name in names
    ]
    fleet.patch(
        f"{group}/status", {"status": {"retirement": {"silent": silent, "granted": len(names), "rest": 0}}}
    )


def meta(fleet: Fleet, collection: str, name: str) -> dict[str, Any]:
    return dict(fleet.server.must("GET", f"{collection}/{name}")["metadata"])


def left(fleet: Fleet, name: str) -> list[str]:
    rights = RBAC.format(fleet.namespace)
    paths = {
        "workload": f"{fleet.workloads}/{name}",
        "lease": f"{fleet.leases}/{name}",
        "role": f"{rights}/roles/fairlead-host-{name}",
        "binding": f"{rights}/rolebindings/fairlead-host-{name}",
    }
    return [kind for kind, path in paths.items() if fleet.server.request("GET", path).status == 200]
