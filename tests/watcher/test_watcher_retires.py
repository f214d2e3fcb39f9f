"""`fairlead retire --due` by the account of config/cluster/watcher-retire.yaml, on a real kube-apiserver."""

from pathlib import Path
from typing import Any

import pytest

from agent.adapters.kube import TokenFile
from agent.adapters.kube.objects import Objects
from agent.cluster.enrolment.refused import Refused
from agent.cluster.enrolment.retiring import Retirement
from agent.core.enrol.request import Host
from agent.host import clocks
from tests.cluster.operator import Done, run
from tests.watcher import retiring
from tests.watcher.retiring import RBAC, ask, left, members, meta, role, say_due
from tests.watcher.watching import MERGE, SYSTEM, Fleet, install_group, kubeconfig

OFF = ("Ready", "False", "ShuttingDown")


@pytest.fixture
def token(fleet: Fleet, token: str) -> str:
    """Of the account that retires."""
    return retiring.install(fleet)


@pytest.fixture
def retire(fleet: Fleet, token: str, tmp_path: Path) -> Any:
    config = kubeconfig(fleet.server, tmp_path / "retirer", token)
    return lambda: run("retire", "--due", "-n", fleet.namespace, "--kubeconfig", str(config))


def test_members_that_are_due_are_retired_and_no_others(fleet: Fleet, retire: Any) -> None:
    names = ("due", "waiting", "early", "ready", "back", "elsewhere", "again")
    group = members(fleet, *names)
    say_due(fleet, group, "due", "ready", "back", "elsewhere", "again")
    status = fleet.server.must("GET", group)["status"]["retirement"]["silent"]
    early = {**status[0], "name": "early", "hours": 47}
    fleet.patch(f"{group}/status", {"status": {"retirement": {"silent": [*status, early]}}})
    fleet.report("ready", ("Ready", "True", "HostReady"))
    fleet.renew("back")
    fleet.patch(f"{fleet.workloads}/elsewhere", {"metadata": {"labels": {"workloadGroup": "web"}}})
    for collection in (fleet.workloads, fleet.leases):
        fleet.server.must("DELETE", f"{collection}/again")
    fleet.enrol("again")
    done: Done = retire()
    assert (done.code, done.out) == (0, "1 retired, 4 stay for now\n"), done.err
    for why in ("it is Ready", "it has renewed its Lease", "a member of another group"):
        assert why in done.err
    assert left(fleet, "due") == []
    assert all(left(fleet, name) == ["workload", "lease", "role", "binding"] for name in names[1:])
    assert not [
        name
        for name in names[1:]
        if "fairlead.dev/retire" in meta(fleet, fleet.workloads, name).get("annotations", {})
    ]


def test_one_that_was_off_goes_in_two_runs_and_a_broken_off_one_is_completed(fleet: Fleet, retire: Any) -> None:
    """Its ExternalWorkload stays for ten minutes, because the watcher did not see when it went."""
    group = members(fleet, "off", "broken")
    fleet.report("off", OFF)
    say_due(fleet, group, "off", "broken")
    nobody = {"metadata": {"annotations": {"fairlead.dev/host": "fairlead:retired"}}}
    fleet.patch(f"{fleet.leases}/broken", nobody)
    first: Done = retire()
    assert (first.code, first.out) == (0, "1 retired, 1 stay for now\n") and "in 10 min" in first.err, first.err
    assert (left(fleet, "off"), left(fleet, "broken")) == (["workload"], [])
    assert fleet.conditions("off") == [("Ready", "False", "Retired")]
    earlier = {"metadata": {"annotations": {"fairlead.dev/retire": "2026-01-02T03:04:05.000000Z"}}}
    fleet.patch(f"{fleet.workloads}/off", earlier)
    assert retire().code == 0 and left(fleet, "off") == []


def test_what_is_gone_already_is_not_counted(fleet: Fleet, retire: Any) -> None:
    """The group's status names it until the watcher's next look."""
    group = members(fleet, "due", "gone")
    say_due(fleet, group, "due", "gone")
    fleet.server.must("DELETE", f"{fleet.workloads}/gone")
    done: Done = retire()
    assert (done.code, done.out) == (0, "1 retired, 0 stay for now\n"), done.err
    assert f"{fleet.namespace}/gone is gone already" in done.err


async def test_one_that_comes_back_meanwhile_need_not_leave(fleet: Fleet, tmp_path: Path) -> None:
    """Between the reading of its Lease and the first step."""
    members(fleet, "back")
    (tmp_path / "token").write_text(fleet.server.admin_token)
    server = fleet.server
    api = Objects(TokenFile(server.url, str(server.ca_file), str(tmp_path / "token")), "test")
    before = str(meta(fleet, fleet.leases, "back")["resourceVersion"])
    fleet.renew("back")
    host = Host("back", fleet.namespace, (), "", "")
    try:
        with pytest.raises(Refused, match="has just renewed its Lease"):
            await Retirement(api, host, print, clocks.exact_wall, unrenewed=before).run(0)
    finally:
        await api.close()
    assert left(fleet, "back") == ["workload", "lease", "role", "binding"]
    assert "fairlead.dev/retire" not in meta(fleet, fleet.workloads, "back").get("annotations", {})


def test_a_group_without_the_setting_loses_none(fleet: Fleet, retire: Any) -> None:
    group = members(fleet, "due")
    say_due(fleet, group, "due")
    fleet.patch(group, {"spec": {"retire": None}})
    assert retire().out == "0 retired, 0 stay for now\n" and len(left(fleet, "due")) == 4


@pytest.mark.parametrize("words", [(), ("db-1",), ("-n", "shop")])
def test_one_host_is_named_with_its_namespace(words: tuple[str, ...]) -> None:
    done = run("retire", *words)
    assert done.code == 2 and "give NAME and -n NAMESPACE, or --due" in done.err


@pytest.mark.parametrize("after", [0, 366, "two"])
def test_the_setting_has_bounds(fleet: Fleet, after: object) -> None:
    group = install_group(fleet, "db")
    body = {"spec": {"retire": {"after": after}}}
    assert fleet.server.request("PATCH", group, body, content_type=MERGE).status == 422


def test_its_account_may_do_that_and_nothing_else(fleet: Fleet, token: str) -> None:
    members(fleet, "due")
    due, lease = f"{fleet.workloads}/due", f"{fleet.leases}/due"
    asked: dict[str, Any] = {"metadata": {"annotations": {"fairlead.dev/retire": "x"}}}
    ready = {"type": "Ready", "status": "True", "reason": "HostReady"}
    fairlead = {"app.kubernetes.io/managed-by": "fairlead"}
    answers = {
        "delete one that was not asked": ask(fleet, token, "DELETE", due),
        "change its labels": ask(fleet, token, "PATCH", due, {"metadata": {"labels": {"app": "x"}}}),
        "change its ports": ask(fleet, token, "PATCH", due, {"spec": {"ports": [{"port": 1}]}}),
        "name another user": ask(
            fleet, token, "PATCH", due, {"metadata": {"annotations": {"fairlead.dev/host": "me"}}}
        ),
        "another annotation": ask(fleet, token, "PATCH", due, {"metadata": {"annotations": {"x": "y"}}}),
        "set Ready": ask(fleet, token, "PATCH", f"{due}/status", {"status": {"conditions": [ready]}}),
        "renew a Lease": ask(fleet, token, "PATCH", lease, {"spec": {"holderIdentity": "me"}}),
        "the Lease of the watcher": ask(fleet, token, "DELETE", _lease_of_the_watcher(fleet)),
        "a Role of another program": role(fleet, token, "fairlead-host-x"),
        "a Role of another name": role(fleet, token, "admin", **fairlead),
        "one that is Ready": _of_ready(fleet, token, asked),
        "one without a group": ask(fleet, token, "PATCH", f"{fleet.workloads}/probe", asked),
    }
    assert answers == dict.fromkeys(answers, 422)
    create = ask(fleet, token, "POST", fleet.leases, {"metadata": {"name": "x"}})
    rights = RBAC.format(fleet.namespace)
    made = ask(fleet, token, "POST", f"{rights}/roles", {"metadata": {"name": "x"}})
    assert (create, made) == (403, 403)
    assert ask(fleet, token, "PATCH", due, asked) == 200 and ask(fleet, token, "DELETE", due) == 200


@pytest.mark.parametrize("hardened", [True, False])
def test_its_pods_are_restricted(fleet: Fleet, token: str, hardened: bool) -> None:
    template = retiring.pod()
    if not hardened:
        del template["spec"]["containers"][0]["securityContext"]
    body = {"metadata": {**template["metadata"], "generateName": "r-"}, "spec": template["spec"]}
    answer = fleet.server.request("POST", f"/api/v1/namespaces/{SYSTEM}/pods", body, query={"dryRun": "All"})
    assert answer.status == (201 if hardened else 403), answer.body


def _lease_of_the_watcher(fleet: Fleet) -> str:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases"
    fleet.server.request("POST", path, {"metadata": {"name": "fairlead-watcher"}})
    return f"{path}/fairlead-watcher"


def _of_ready(fleet: Fleet, token: str, body: object) -> int:
    fleet.enrol("serving")
    fleet.patch(f"{fleet.workloads}/serving", {"metadata": {"labels": {"workloadGroup": "db"}}})
    return ask(fleet, token, "PATCH", f"{fleet.workloads}/serving", body)
