"""`fairlead retire` on a real kube-apiserver. The host is what it writes: its status, and its Lease."""

from pathlib import Path

import pytest

from agent.cluster.enrolment import retiring
from agent.host import clocks
from tests.cluster.operator import NAME, Done, Operator
from tests.lab.realparts import ApiServer

pytestmark = pytest.mark.real
MERGE = "application/merge-patch+json"
ROLE = f"fairlead-host-{NAME}"


@pytest.fixture
def operator(real_apiserver: ApiServer, tmp_path: Path) -> Operator:
    made = Operator(real_apiserver, tmp_path)
    made.install_linkerd()
    assert made.enrol().code == 0
    return made


def retire(operator: Operator, *words: str) -> Done:
    return operator.run("retire", NAME, *words)


def publish(operator: Operator, status: str, reason: str, since: str = "2026-01-02T03:04:05Z") -> None:
    one = {"type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": since}
    path = operator.path("externalworkloads") + "/status"
    operator.server.must("PATCH", path, {"status": {"conditions": [one]}}, content_type=MERGE)


def renew(operator: Operator, drained: str = "") -> None:
    body: dict[str, object] = {"spec": {"renewTime": "2026-01-02T03:04:05.000000Z", "leaseDurationSeconds": 1}}
    if drained:
        body["metadata"] = {"annotations": {"fairlead.dev/drained": drained}}
    operator.server.must("PATCH", operator.path("leases"), body, content_type=MERGE)


def left(operator: Operator) -> set[str]:
    names = {"externalworkloads": NAME, "leases": NAME, "roles": ROLE, "rolebindings": ROLE}
    return {kind for kind, name in names.items() if operator.has(kind, name)}


def test_a_host_that_has_drained_is_deleted(operator: Operator) -> None:
    publish(operator, "False", "Retired")
    renew(operator, drained="true")
    done = retire(operator)
    assert (done.code, left(operator)) == (0, set()), done.err
    again = retire(operator)
    assert again.code == 0 and f"there is no ExternalWorkload {operator.namespace}/{NAME}" in again.out, again


def test_a_host_that_serves_is_waited_for(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """It renews its Lease: nothing is taken from it."""
    monkeypatch.setattr(retiring, "POLL", 0.05)
    publish(operator, "True", "HostReady")
    renew(operator, drained="false")
    late = retire(operator, "--timeout", "0.2")
    assert late.code == 1 and "has not drained within 0.2 s" in late.err, late.err
    assert left(operator) == {"externalworkloads", "leases", "roles", "rolebindings"}
    assert "fairlead.dev/retire" in operator.get("externalworkloads")["metadata"]["annotations"]
    refused = operator.enrol()
    assert refused.code == 1 and "is being retired" in refused.err
    assert operator.enrol("--replace").code == 0
    assert "fairlead.dev/retire" not in operator.get("externalworkloads")["metadata"]["annotations"]
    assert "fairlead.dev/drained" not in operator.get("leases")["metadata"]["annotations"]


def test_a_silent_host_loses_its_right_then_ready(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ExternalWorkload stays for ten minutes: a client may still be subscribed to its address."""
    monkeypatch.setattr(retiring, "POLL", 0.05)
    monkeypatch.setattr(retiring, "LEAST", 0.2)
    publish(operator, "True", "HostReady")
    renew(operator)
    done = retire(operator)
    assert done.code == 75 and "stays, not Ready" in done.err and "in 10 min" in done.err, done.err
    assert left(operator) == {"externalworkloads"}
    there = operator.get("externalworkloads")
    assert there["metadata"]["annotations"]["fairlead.dev/host"] == "fairlead:retired"
    ready = there["status"]["conditions"]
    assert [(one["status"], one["reason"]) for one in ready if one["type"] == "Ready"] == [("False", "Retired")]
    earlier = {"metadata": {"annotations": {"fairlead.dev/retire": "2026-01-02T03:04:05.000000Z"}}}
    operator.server.must("PATCH", operator.path("externalworkloads"), earlier, content_type=MERGE)
    assert retire(operator).code == 0 and left(operator) == set()


def test_a_host_that_the_watcher_found_dead_is_deleted_at_once(operator: Operator) -> None:
    renew(operator)
    publish(operator, "Unknown", "HostUnreachable")
    done = retire(operator)
    assert (done.code, left(operator)) == (0, set()), done.err


def test_a_host_that_was_found_dead_just_now_stays_for_ten_minutes(operator: Operator) -> None:
    renew(operator)
    publish(operator, "Unknown", "HostUnreachable", clocks.wall())
    done = retire(operator)
    assert (done.code, left(operator)) == (75, {"externalworkloads"}) and "in 10 min" in done.err, done.err


def test_one_that_never_joined_is_deleted_without_a_wait_for_its_lease(operator: Operator) -> None:
    assert retire(operator).code == 75
    assert left(operator) == {"externalworkloads"}


def test_one_that_an_endpointslice_lists_stays(operator: Operator) -> None:
    publish(operator, "False", "Retired")
    renew(operator, drained="true")
    target = {"kind": "ExternalWorkload", "namespace": operator.namespace, "name": NAME}
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{operator.namespace}/endpointslices"
    labels = {"endpointslice.kubernetes.io/managed-by": "linkerd-external-workloads-controller"}
    body = {
        "metadata": {"name": "db", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [operator.address], "targetRef": target, "conditions": {"ready": True}}],
    }
    operator.server.must("POST", slices, body)
    done = retire(operator)
    assert done.code == 75 and "an EndpointSlice lists it" in done.err
    assert left(operator) == {"externalworkloads"}
    operator.server.must("DELETE", f"{slices}/db")
    assert retire(operator).code == 0 and left(operator) == set(), "what the host said is remembered"
