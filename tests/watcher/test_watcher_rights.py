"""What config/cluster/watcher.yaml allows on a real kube-apiserver, and what it refuses."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.watcher.watching import LEASES, MERGE, SYSTEM, WITHIN, Fleet, install_group, manifests, watcher

READY = {"type": "Ready", "status": "True", "reason": "HostReady"}
GONE = {"type": "Ready", "status": "Unknown", "reason": "HostUnreachable"}
FOREIGN = {"type": "example.org/Backup", "status": "True", "reason": "Done"}
UNIQUE = {"type": "fairlead.dev/Unique", "status": "False", "reason": "AddressShared"}
AT = {"lastTransitionTime": "2026-01-02T03:04:05Z"}
BEFORE = [READY, FOREIGN]


def _status(*conditions: dict[str, str]) -> dict[str, Any]:
    return {"status": {"conditions": [{**AT, **one} for one in conditions]}}


def _in_force(fleet: Fleet, token: str) -> None:
    """Rights and policies reach the server's caches some seconds after they were written."""
    end = time.monotonic() + WITHIN
    fleet.enrol("probe")
    while time.monotonic() < end:
        refused = _patch(fleet, token, "probe", _status({**READY, "reason": "NotMine"}))
        if refused == 422 and _patch(fleet, token, "probe", _status(GONE)) == 200:
            return
        time.sleep(0.1)
    raise AssertionError("the policy is not in force")


def _patch(fleet: Fleet, token: str, name: str, body: object, path: str = "/status") -> int:
    url = f"{fleet.workloads}/{name}{path}"
    return fleet.server.request("PATCH", url, body, token=token, content_type=MERGE).status


WRITES = {
    "Ready is taken": ([GONE, FOREIGN], 200),
    "its own condition is set": ([READY, FOREIGN, UNIQUE], 200),
    "Ready is given": ([{**READY, "reason": "Given"}, FOREIGN], 422),
    "Ready is False": ([{**GONE, "status": "False"}, FOREIGN], 422),
    "Ready is Unknown for another reason": ([{**GONE, "reason": "Starting"}, FOREIGN], 422),
    "Ready is removed": ([FOREIGN], 422),
    "a foreign condition is removed": ([GONE], 422),
    "a foreign condition is changed": ([GONE, {**FOREIGN, "status": "False"}], 422),
    "another condition is added": ([GONE, FOREIGN, {**FOREIGN, "type": "fairlead.dev/ProxyReady"}], 422),
}


def test_it_takes_ready_and_writes_nothing_else(fleet: Fleet, token: str) -> None:
    _in_force(fleet, token)
    answers = {}
    for number, (what, (conditions, _)) in enumerate(WRITES.items()):
        name = f"vm-{number}"
        fleet.enrol(name)
        fleet.patch(f"{fleet.workloads}/{name}/status", _status(*BEFORE))
        answers[what] = _patch(fleet, token, name, _status(*conditions))
    assert answers == {what: status for what, (_, status) in WRITES.items()}


def test_it_may_not_touch_what_is_the_hosts(fleet: Fleet, token: str) -> None:
    _in_force(fleet, token)
    ask = fleet.server.request
    spec: dict[str, Any] = {"spec": {"ports": []}}
    renewal = {"spec": {"holderIdentity": "probe"}}
    answers = [
        _patch(fleet, token, "probe", spec, path=""),
        ask("DELETE", f"{fleet.workloads}/probe", token=token).status,
        ask("PATCH", f"{fleet.leases}/probe", renewal, token=token, content_type=MERGE).status,
        ask("DELETE", f"{fleet.leases}/probe", token=token).status,
        ask("POST", fleet.leases, {"metadata": {"name": "x"}}, token=token).status,
        ask("PATCH", LEASES.format(SYSTEM) + "/other", renewal, token=token, content_type=MERGE).status,
    ]
    assert answers == [403] * len(answers)


def test_it_writes_the_status_of_groups_and_not_their_templates(fleet: Fleet, token: str) -> None:
    _in_force(fleet, token)
    path = install_group(fleet, "db")
    ask = fleet.server.request

    def patch(where: str, body: object) -> int:
        return ask("PATCH", where, body, token=token, content_type=MERGE).status

    assert ask("GET", path.rpartition("/")[0], token=token).status == 200
    assert patch(f"{path}/status", {"status": {"members": 1}}) == 200
    assert patch(path, {"spec": {"networks": []}}) == 403
    assert ask("DELETE", path, token=token).status == 403


@pytest.mark.parametrize("hardened", [True, False])
def test_its_pods_are_restricted(fleet: Fleet, token: str, hardened: bool) -> None:
    (deployment,) = [one for one in manifests() if one["kind"] == "Deployment"]
    template = deployment["spec"]["template"]
    if not hardened:
        del template["spec"]["containers"][0]["securityContext"]
    pod = {"metadata": {**template["metadata"], "generateName": "w-"}, "spec": template["spec"]}
    answer = fleet.server.request("POST", f"/api/v1/namespaces/{SYSTEM}/pods", pod, query={"dryRun": "All"})
    assert answer.status == (201 if hardened else 403), answer.body


def test_its_probes_say_when_the_view_is_stale(fleet: Fleet, config: Path) -> None:
    fleet.enrol("vm-1")
    binding = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/fairlead-watcher"
    kept = fleet.server.must("GET", binding)
    with watcher(config) as running:
        fleet.renewing(until=lambda: running.page("/readyz")[0] == 200)
        assert running.page("/v1/targets")[0] == 400
        status, targets = running.page("/v1/targets?port=9100")
        named = {one["labels"]["__meta_fairlead_namespace"]: one["targets"] for one in json.loads(targets)}
        assert status == 200 and named[fleet.namespace] == [f"{fleet.addresses['vm-1']}:9100"]
        fleet.server.must("DELETE", binding)
        try:
            fleet.renewing(until=lambda: running.page("/readyz")[0] == 503)
            assert running.page("/livez")[0] == 200
            assert running.metric('fairlead_watcher_stale{namespace=""}') == 1
        finally:
            name = {"metadata": {"name": kept["metadata"]["name"]}}
            fleet.server.must("POST", binding.rpartition("/")[0], {**kept, **name})
        fleet.renewing(until=lambda: running.page("/readyz")[0] == 200)
