"""The embedded API server answers as a real kube-apiserver does: the same raw calls to both."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.contract import status_worlds
from tests.contract.status_worlds import NAME, SPEC, TOO_OLD, HttpWorld, Json, lease, manifest

OPERATIONS = "application/json-patch+json"
CONDITION = {"type": "Ready", "status": "True", "reason": "HostReady"}


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
async def http(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HttpWorld]:
    async with status_worlds.made(request, tmp_path) as world:
        assert isinstance(world, HttpWorld)
        yield world


# creating -----------------------------------------------------------------------------------------


async def test_a_create_drops_the_status_and_what_is_unknown(http: HttpWorld) -> None:
    body = manifest(http.namespace, ports=[{"port": 80, "colour": "red"}])
    made = await http.must("POST", http.workloads, body | {"status": {"conditions": [CONDITION]}, "more": 1})
    assert "status" not in made and "more" not in made
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"]


async def test_a_second_one_of_that_name_exists_already(http: HttpWorld) -> None:
    await http.create()
    answer = await http.ask("POST", http.workloads, manifest(http.namespace))
    assert (answer.status, answer.reason) == (409, "AlreadyExists")


LONG = "x" * 254


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"meshTLS": {"identity": "", "serverName": LONG}}, ["spec.meshTLS.identity", "spec.meshTLS.serverName"]),
        ({"meshTLS": {"identity": "spiffe://a/b"}}, ["spec.meshTLS.serverName"]),
        ({"meshTLS": {"identity": 5, "serverName": "a"}}, ["spec.meshTLS.identity"]),
        ({"ports": [{"port": 0}, {"port": 65536}, {}]}, [f"spec.ports[{i}].port" for i in range(3)]),
        ({"ports": [{"port": 80}, {"port": "80"}]}, ["spec.ports[1].port"]),
        ({"workloadIPs": [{"ip": "a"}] * 3}, ["spec.workloadIPs"]),
    ],
)
async def test_an_invalid_spec_is_refused_by_field(http: HttpWorld, spec: Json, fields: list[str]) -> None:
    answer = await http.ask("POST", http.workloads, manifest(http.namespace, **spec))
    assert (answer.status, answer.reason, answer.fields) == (422, "Invalid", fields)


@pytest.mark.parametrize("name", ["Upper", "-a", "a_b", "x" * 254])
async def test_an_invalid_name_is_refused(http: HttpWorld, name: str) -> None:
    answer = await http.ask("POST", http.workloads, manifest(http.namespace, name))
    assert (answer.status, answer.reason, set(answer.fields)) == (422, "Invalid", {"metadata.name"})


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"kind": "Pod"}, 422),
        ({"apiVersion": "workload.linkerd.io/v1alpha1"}, 400),
        ({"metadata": {"namespace": "x"}}, 400),
    ],
)
async def test_what_contradicts_the_url_is_refused(http: HttpWorld, change: Json, status: int) -> None:
    answer = await http.ask("POST", http.workloads, manifest(http.namespace) | change)
    assert answer.status == status, answer.body
    other = await http.ask("POST", http.leases, lease(http.namespace, {}) | change)
    assert other.status == 400, other.body


# updating -----------------------------------------------------------------------------------------


async def test_an_update_of_the_spec_moves_the_generation_and_keeps_the_status(http: HttpWorld) -> None:
    await http.create()
    await http.patch({"status": {"conditions": [CONDITION]}}, "/status")
    before = await http.raw()
    changed = before | {"status": {}, "spec": SPEC | {"ports": []}}
    after = await http.must("PUT", f"{http.workloads}/{NAME}", changed)
    assert after["spec"]["ports"] == []
    assert after["status"] == before["status"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1


async def test_labels_move_the_version_and_not_the_generation(http: HttpWorld) -> None:
    await http.create()
    before = await http.raw()
    after = await http.patch({"metadata": {"labels": {"app": None, "tier": "web"}}})
    assert after["metadata"]["labels"] == {"tier": "web"}
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]


async def test_the_status_alone_is_written_by_its_subresource(http: HttpWorld) -> None:
    await http.create()
    before = await http.raw()
    labels = {"labels": {"app": "other"}}
    sent = {"metadata": labels, "spec": {"ports": []}, "status": {"conditions": [CONDITION]}}
    after = await http.patch(sent, "/status")
    assert after["status"] == {"conditions": [CONDITION]}
    assert after["spec"] == before["spec"]
    for key in ("labels", "generation"):
        assert after["metadata"][key] == before["metadata"][key]


async def test_a_patch_that_changes_nothing_moves_nothing(http: HttpWorld) -> None:
    await http.create()
    before = await http.patch({"status": {"conditions": [CONDITION]}}, "/status")
    for subresource in ("", "/status"):
        same = await http.patch({"spec": SPEC, "status": {"conditions": [CONDITION]}}, subresource)
        assert same["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


@pytest.mark.parametrize("subresource", ["", "/status"])
async def test_a_stale_version_is_a_conflict(http: HttpWorld, subresource: str) -> None:
    await http.create()
    stale = await http.raw()
    await http.edit()
    path, version = http.workloads + f"/{NAME}{subresource}", stale["metadata"]["resourceVersion"]
    patched = await http.ask("PATCH", path, {"metadata": {"resourceVersion": version}})
    replaced = await http.ask("PUT", path, stale)
    for answer in (patched, replaced):
        assert (answer.status, answer.reason) == (409, "Conflict")


async def test_an_update_names_a_version(http: HttpWorld) -> None:
    await http.create()
    answer = await http.ask("PUT", f"{http.workloads}/{NAME}", manifest(http.namespace))
    assert (answer.status, answer.fields) == (422, ["metadata.resourceVersion"])


@pytest.mark.parametrize(
    ("method", "subresource", "status"),
    [("PUT", "", 409), ("PUT", "/status", 409), ("PATCH", "", 422), ("PATCH", "/status", 200)],
)
async def test_a_wrong_uid(http: HttpWorld, method: str, subresource: str, status: int) -> None:
    """No guard where it is needed most: a patch of the status ignores it."""
    await http.create()
    body = await http.raw()
    body["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    answer = await http.ask(method, f"{http.workloads}/{NAME}{subresource}", body)
    assert answer.status == status, answer.body


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reason": "two words"}, "reason"),
        ({"reason": "with-hyphen"}, "reason"),
        ({"reason": ""}, "reason"),
        ({"reason": "Newline\n"}, "reason"),
        ({"reason": "x" * 1025}, "reason"),
        ({"type": "Not ready"}, "type"),
        ({"status": "true"}, "status"),
        ({"lastTransitionTime": "yesterday"}, "lastTransitionTime"),
        ({"message": 5}, "message"),
    ],
)
async def test_an_invalid_condition_is_refused(http: HttpWorld, change: Json, field: str) -> None:
    await http.create()
    body = {"status": {"conditions": [CONDITION | change]}}
    answer = await http.ask("PATCH", f"{http.workloads}/{NAME}/status", body)
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert set(answer.fields) == {f"status.conditions[0].{field}"}


async def test_a_condition_without_a_type_is_taken(http: HttpWorld) -> None:
    """The CRD means to require it, and does not (docs/linkerd.md §5)."""
    await http.create()
    after = await http.patch({"status": {"conditions": [{"message": "no type"}]}}, "/status")
    assert after["status"]["conditions"] == [{"message": "no type"}]


async def test_a_json_patch_tests_before_it_changes(http: HttpWorld) -> None:
    await http.create()
    version = (await http.raw())["metadata"]["resourceVersion"]
    guarded = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/status", "value": {"conditions": [CONDITION]}},
    ]
    path = f"{http.workloads}/{NAME}/status"
    assert (await http.ask("PATCH", path, guarded, OPERATIONS)).status == 200
    again = await http.ask("PATCH", path, guarded, OPERATIONS)
    assert (again.status, again.reason) == (422, "Invalid")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ("{", "application/merge-patch+json", 400),
        ("[1]", "application/merge-patch+json", 400),
        ('{"op": "add"}', OPERATIONS, 400),
        ('[{"op": "remove", "path": "/spec/nothing"}]', OPERATIONS, 422),
        ('{"metadata": {"name": "other"}}', "application/merge-patch+json", 400),
        ("{}", "text/plain", 415),
        ("{}", "application/strategic-merge-patch+json", 415),
    ],
)
async def test_a_patch_that_is_none(http: HttpWorld, body: str, content_type: str, status: int) -> None:
    await http.create()
    answer = await http.ask("PATCH", f"{http.workloads}/{NAME}", body, content_type)
    assert answer.status == status, answer.body
    assert answer.body["kind"] == "Status"


# finding and deleting -----------------------------------------------------------------------------


async def test_lists_by_name_and_namespace(http: HttpWorld) -> None:
    await http.create()
    await http.must("POST", http.workloads, manifest(http.namespace, "vm-2"))
    listed = await http.must("GET", http.workloads)
    assert listed["kind"] == "ExternalWorkloadList"
    assert [item["metadata"]["name"] for item in listed["items"]] == [NAME, "vm-2"]
    one = await http.ask("GET", http.workloads, query={"fieldSelector": "metadata.name=vm-2"})
    assert [item["metadata"]["name"] for item in one.body["items"]] == ["vm-2"]
    everywhere = await http.ask(
        "GET",
        "/apis/workload.linkerd.io/v1beta1/externalworkloads",
        query={"fieldSelector": f"metadata.namespace={http.namespace}"},
    )
    assert len(everywhere.body["items"]) == 2
    unknown = await http.ask("GET", http.workloads, query={"fieldSelector": "spec.colour=red"})
    assert unknown.status == 400


async def test_a_deletion_may_have_preconditions(http: HttpWorld) -> None:
    await http.create()
    path, uid = f"{http.workloads}/{NAME}", (await http.raw())["metadata"]["uid"]
    wrong = await http.ask("DELETE", path, {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}})
    assert (wrong.status, wrong.reason) == (409, "Conflict")
    right = await http.ask("DELETE", path, {"preconditions": {"uid": uid}})
    assert (right.status, right.body["status"], right.body["details"]["uid"]) == (200, "Success", uid)
    gone = await http.ask("GET", path)
    assert (gone.status, gone.reason, gone.body["details"]["name"]) == (404, "NotFound", NAME)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/apis/workload.linkerd.io/v1alpha1/namespaces/{}/externalworkloads", 404),
        ("GET", "/apis/workload.linkerd.io/v1beta1/namespaces/{}/internalworkloads", 404),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/{}/leases/x/status", 404),
        ("DELETE", "/apis/workload.linkerd.io/v1beta1/namespaces/{}/externalworkloads/x/status", 405),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/{}/leases/x", 405),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/{}/leases", 405),
    ],
)
async def test_what_there_is_not(http: HttpWorld, method: str, path: str, status: int) -> None:
    body: Json | None = None if method == "GET" else {}
    async with aiohttp.ClientSession() as session:  # an answer may be plain text here
        context = http.tls()
        headers = {"Authorization": f"Bearer {http.admin_token}", "Content-Type": "application/json"}
        url = http.url + path.format(http.namespace)
        async with session.request(method, url, json=body, headers=headers, ssl=context) as response:
            assert response.status == status


async def test_without_a_token_nobody_is_anybody(http: HttpWorld) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(http.url + http.workloads, headers={"Authorization": "Bearer no"}, ssl=http.tls()) as response,
    ):
        body = await response.json()
    assert (response.status, body["reason"], body["message"]) == (401, "Unauthorized", "Unauthorized")


# leases and events --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"leaseDurationSeconds": 0}, 422),
        ({"leaseTransitions": -1}, 422),
        ({"renewTime": "2026-01-02T03:04:05Z"}, 422),
        ({"renewTime": "2026-01-02T03:04:05.000001Z", "unknown": 1}, 200),
    ],
)
async def test_a_lease_is_checked(http: HttpWorld, spec: Json, status: int) -> None:
    await http.create_lease({})
    answer = await http.ask("PATCH", f"{http.leases}/{NAME}", {"spec": spec})
    assert answer.status == status, answer.body
    assert "unknown" not in answer.body.get("spec", {})


async def test_an_event_is_taken_and_checked(http: HttpWorld) -> None:
    path = f"/apis/events.k8s.io/v1/namespaces/{http.namespace}/events"
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "vm-1.1", "namespace": http.namespace},
        "eventTime": "2026-01-02T03:04:05.000001Z",
        "reportingController": "fairlead.dev/agent",
        "reportingInstance": NAME,
        "action": "Drain",
        "reason": "Draining",
        "type": "Normal",
        "note": "an operator drains this host",
        "regarding": {"kind": "ExternalWorkload", "name": NAME, "namespace": http.namespace},
    }
    made = await http.must("POST", path, event)
    assert (made["note"], made["regarding"]["name"]) == (event["note"], NAME)
    bad = event | {"metadata": {"name": "vm-1.2", "namespace": http.namespace}, "action": ""}
    answer = await http.ask("POST", path, bad)
    assert (answer.status, answer.fields) == (422, ["action"])


async def test_an_owner_is_named_in_full(http: HttpWorld) -> None:
    body = lease(http.namespace, {})
    body["metadata"]["ownerReferences"] = [{"kind": "ExternalWorkload", "name": NAME}]
    answer = await http.ask("POST", http.leases, body)
    assert answer.status == 422, answer.body


# watching -----------------------------------------------------------------------------------------


async def events(http: HttpWorld, **query: str) -> list[Json]:
    """Every line of a watch that the server ends after a second."""
    query = {"watch": "1", "timeoutSeconds": "1"} | query
    return [json.loads(line) for line in await http.lines(http.workloads, query)]


async def test_a_watch_without_a_version_begins_with_what_there_is(http: HttpWorld) -> None:
    await http.create()
    for version in ({}, {"resourceVersion": "0"}):
        seen = await events(http, **version)
        assert [(event["type"], event["object"]["metadata"]["name"]) for event in seen] == [("ADDED", NAME)]


async def test_a_watch_tells_what_happened_since(http: HttpWorld) -> None:
    await http.create()
    version = (await http.raw())["metadata"]["resourceVersion"]
    await http.edit()
    await http.delete()
    await http.create()
    seen = await events(http, resourceVersion=version, fieldSelector=f"metadata.name={NAME}")
    assert [event["type"] for event in seen] == ["MODIFIED", "DELETED", "ADDED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(versions) and versions[0] > int(version)


async def test_a_watch_from_a_forgotten_version_is_an_error_event(http: HttpWorld) -> None:
    await http.create()
    (only,) = await events(http, resourceVersion=TOO_OLD)
    assert (only["type"], only["object"]["code"], only["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_watches_by_many_see_the_same(http: HttpWorld) -> None:
    await http.create()
    version = (await http.raw())["metadata"]["resourceVersion"]
    watches = [asyncio.create_task(events(http, resourceVersion=version)) for _ in range(5)]
    await http.edit()
    assert [[event["type"] for event in await watch] for watch in watches] == [["MODIFIED"]] * 5
