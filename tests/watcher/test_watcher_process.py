"""`fairlead watcher` as its own account on a real kube-apiserver: which hosts it marks, and which it does not."""

import itertools
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.watcher.watching import COLLECTIONS, LEASES, MANIFEST, SYSTEM, Fleet, install_group, watcher

READY = ("Ready", "True", "HostReady")
TEN_YEARS = 315_360_000


def test_a_dead_host_is_marked_once_and_the_others_stay(fleet: Fleet, config: Path) -> None:
    for name in ("vm-1", "vm-2", "vm-3"):
        fleet.enrol(name)
    foreign, own = ("example.org/Backup", "True", "Done"), ("fairlead.dev/ProxyReady", "True", "ProxyReady")
    fleet.report("vm-3", foreign, READY, own)
    with watcher(config, "-n", fleet.namespace) as running:
        fleet.renewing("vm-1", "vm-2", until=lambda: fleet.unreachable("vm-3"))
        version = fleet.version("vm-3")
        assert fleet.ready("vm-1", "vm-2")
        assert fleet.conditions("vm-3") == [foreign, ("Ready", "Unknown", "HostUnreachable"), own]
        fleet.renewing("vm-1", "vm-2", until=lambda: bool(_events(fleet)))
        assert [event["regarding"]["name"] for event in _events(fleet)] == ["vm-3"]
        assert running.metric("fairlead_watcher_marked_total") == 1
    assert fleet.version("vm-3") == version and running.process.returncode == 0
    lease = fleet.server.must("GET", LEASES.format(SYSTEM) + "/fairlead-watcher")
    assert lease["spec"].get("holderIdentity", "") == "", "released"


def _events(fleet: Fleet) -> list[dict[str, dict[str, str]]]:
    path = f"/apis/events.k8s.io/v1/namespaces/{fleet.namespace}/events"
    return list(fleet.server.must("GET", path)["items"])


def test_who_is_judged_and_by_what(fleet: Fleet, config: Path) -> None:
    """All but vm-1 are silent from the start; each stands for a fault scenario, in a zone of its own."""
    for name in ("vm-1", "edited", "twice", "planned", "off", "bare", "renamed", "gone"):
        fleet.enrol(name, zone=name)
    fleet.renew("edited", leaseDurationSeconds=TEN_YEARS)
    fleet.renew("planned", leaseDurationSeconds=600)
    fleet.report("twice", READY, ("Ready", "Unknown", "HostUnreachable"))
    fleet.report("off", ("Ready", "False", "ShuttingDown"))
    fleet.patch(f"{fleet.leases}/bare", {"spec": {"renewTime": None}})
    owner = fleet.server.must("GET", f"{fleet.leases}/renamed")["metadata"]["ownerReferences"][0]
    fleet.patch(f"{fleet.leases}/renamed", {"metadata": {"ownerReferences": [{**owner, "uid": "another"}]}})
    fleet.server.must("DELETE", f"{fleet.leases}/gone")
    with watcher(config, "-n", fleet.namespace, "--longest=8"):
        fleet.renewing("vm-1", until=lambda: all(map(fleet.unreachable, ("edited", "twice", "planned"))))
        assert fleet.conditions("twice") == [("Ready", "Unknown", "HostUnreachable")]
        assert fleet.ready("vm-1", "bare", "renamed", "gone")
        assert fleet.conditions("off") == [("Ready", "False", "ShuttingDown")]


def test_a_planned_stop_is_honoured_and_a_host_that_is_back_stays(fleet: Fleet, config: Path) -> None:
    for name in ("vm-1", "vm-2", "planned", "dead"):
        fleet.enrol(name)
    fleet.renew("planned", leaseDurationSeconds=600)
    with watcher(config, "-n", fleet.namespace):
        fleet.renewing("vm-1", "vm-2", until=lambda: fleet.unreachable("dead"))
        fleet.renew("dead")
        fleet.report("dead", READY)
        end = time.monotonic() + 8
        fleet.renewing("vm-1", "vm-2", "dead", until=lambda: time.monotonic() > end)
        assert fleet.ready("vm-1", "vm-2", "planned", "dead")


def test_a_fleet_that_falls_silent_together_is_kept_and_gets_its_grace_again(fleet: Fleet, config: Path) -> None:
    names = [f"vm-{number}" for number in range(4)]
    for name in names:
        fleet.enrol(name, zone=name[-1])
    with watcher(config, "-n", fleet.namespace) as running:
        fleet.renewing(until=lambda: running.metric("fairlead_watcher_held_hosts") == 4)
        assert fleet.ready(*names)
        fleet.renewing("vm-0", until=lambda: running.metric("fairlead_watcher_held_hosts") == 0)
        assert fleet.ready(*names), "the others follow"
        fleet.renewing(*names, until=lambda: running.metric('fairlead_watcher_hosts{standing="well"}') == 4)
        assert fleet.ready(*names)


def test_a_watcher_that_was_stopped_marks_nobody_on_what_it_believed(fleet: Fleet, config: Path) -> None:
    for name in ("vm-1", "vm-2", "vm-3", "dead"):
        fleet.enrol(name)
    with watcher(config, "-n", fleet.namespace) as running:
        fleet.renewing("vm-1", "vm-2", "vm-3", "dead", until=lambda: running.metric("fairlead_watcher_leads") == 1)
        running.send(signal.SIGSTOP)
        stopped = time.monotonic()
        while time.monotonic() < stopped + 8:  # nothing is renewed: nobody reaches the API server
            time.sleep(0.1)
        running.send(signal.SIGCONT)
        back = time.monotonic()
        fleet.renewing("vm-1", "vm-2", "vm-3", until=lambda: fleet.unreachable("dead"))
        assert time.monotonic() - back >= 4, "the whole grace"
        assert fleet.ready("vm-1", "vm-2", "vm-3")


def test_two_hosts_at_one_address_learn_of_each_other(fleet: Fleet, config: Path) -> None:
    for name in ("vm-1", "vm-2", "vm-3"):
        fleet.enrol(name, address="" if name == "vm-3" else "192.0.2.7")
    unique = ("fairlead.dev/Unique", "False", "EndpointShared")
    with watcher(config, "-n", fleet.namespace):
        fleet.renewing(
            *("vm-1", "vm-2", "vm-3"),
            until=lambda: all(unique in fleet.conditions(name) for name in ("vm-1", "vm-2")),
        )
        assert fleet.ready("vm-1", "vm-2") and fleet.conditions("vm-3") == [READY]
        other = {"spec": {"workloadIPs": [{"ip": "192.0.2.8"}]}}
        fleet.patch(f"{fleet.workloads}/vm-2", other)
        over = ("fairlead.dev/Unique", "True", "HostUnique")
        fleet.renewing("vm-1", "vm-2", "vm-3", until=lambda: over in fleet.conditions("vm-1"))


def test_a_pod_at_the_address_of_a_host_and_two_machines_at_one_lease(fleet: Fleet, config: Path) -> None:
    """The first needs rights of its own; without them the log says so once."""
    for name in ("vm-1", "vm-2", "vm-3"):
        fleet.enrol(name)
    pods = f"/api/v1/namespaces/{fleet.namespace}/pods"
    spec = {"containers": [{"name": "c", "image": "registry.example/c"}]}
    fleet.server.must("POST", pods, {"metadata": {"name": "web"}, "spec": spec})
    taken = {"phase": "Running", "podIPs": [{"ip": fleet.addresses["vm-1"]}]}
    fleet.patch(f"{pods}/web/status", {"status": taken})
    boots = itertools.cycle("ab")

    def both() -> bool:
        boot = {"fairlead.dev/boot-id": next(boots)}
        fleet.patch(f"{fleet.leases}/vm-2", {"metadata": {"annotations": boot}})
        fleet.renew("vm-2")
        return ("fairlead.dev/Unique", "False", "LeaseShared") in fleet.conditions("vm-2")

    with watcher(config, "-n", fleet.namespace) as running:
        fleet.renewing("vm-1", "vm-3", until=both, pause=1.0)
        running.wait_for("addresses are not compared")
        assert fleet.conditions("vm-1") == [READY] == fleet.conditions("vm-3")
        assert running.log.read_text().count("addresses are not compared") == 2, "pods and nodes"
    messages = [str(event["note"]) for event in _events(fleet)]
    assert [message.rpartition(": ")[2] for message in messages] == ["vm-2/a, vm-2/b"]
    with rights_on_addresses(fleet), watcher(config, "-n", fleet.namespace):
        taken_by = ("fairlead.dev/Unique", "False", "AddressInCluster")
        fleet.renewing("vm-1", "vm-2", "vm-3", until=lambda: taken_by in fleet.conditions("vm-1"))
        assert fleet.conditions("vm-3") == [READY]


@contextmanager
def rights_on_addresses(fleet: Fleet) -> Iterator[None]:
    documents = list(yaml.safe_load_all((MANIFEST.parent / "watcher-addresses.yaml").read_text()))
    for document in documents:
        fleet.server.must("POST", COLLECTIONS[document["kind"]], document)
    try:
        yield
    finally:
        for document in documents:
            fleet.server.must("DELETE", f"{COLLECTIONS[document['kind']]}/{document['metadata']['name']}")


def test_a_group_says_how_its_members_are(fleet: Fleet, config: Path) -> None:
    """Its status is written every 30 s at most."""
    group = install_group(fleet, "db")
    for name in ("vm-1", "vm-2", "vm-3"):
        fleet.enrol(name)
        fleet.patch(f"{fleet.workloads}/{name}", {"metadata": {"labels": {"workloadGroup": "db"}}})
    fleet.report("vm-2", ("Ready", "False", "ProbeFailing"))
    with watcher(config, "-n", fleet.namespace):
        fleet.renewing("vm-1", "vm-2", "vm-3", until=lambda: "ready" in _status(fleet, group))
    numbers = {"members": 3, "ready": 2, "outdated": 3, "unreachable": 0, "observedGeneration": 1}
    assert _status(fleet, group) == {**numbers, "reasons": [{"reason": "ProbeFailing", "members": 1}]}


def _status(fleet: Fleet, path: str) -> dict[str, object]:
    return dict(fleet.server.must("GET", path).get("status", {}))


def test_a_namespace_without_rights_is_named_once_and_others_go_on(fleet: Fleet, config: Path) -> None:
    """Also of a namespace that does not exist: readings of it are empty, not wrong."""
    for name in ("vm-1", "vm-2", "dead"):
        fleet.enrol(name)
    binding = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/fairlead-watcher"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "fairlead-watcher"}
    subject = {"kind": "ServiceAccount", "name": "fairlead-watcher", "namespace": SYSTEM}
    body = {"metadata": {"name": "w"}, "roleRef": role, "subjects": [subject]}
    cluster_wide = fleet.server.must("GET", binding)
    fleet.server.must(
        "POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{fleet.namespace}/rolebindings", body
    )
    fleet.server.must("DELETE", binding)
    try:
        with watcher(config, "-n", fleet.namespace, "-n", "elsewhere") as running:
            fleet.renewing("vm-1", "vm-2", until=lambda: fleet.unreachable("dead"))
            text = running.log.read_text()
            assert text.count("ApiForbidden") == 1 and "namespace elsewhere" in text
            assert "as config/cluster/watcher.yaml does" in text
    finally:
        again = {key: value for key, value in cluster_wide["metadata"].items() if key == "name"}
        fleet.server.must("POST", binding.rpartition("/")[0], {**cluster_wide, "metadata": again})
