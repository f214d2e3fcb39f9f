"""`fairlead watcher` on a real kube-apiserver."""

from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.watching import Fleet, kubeconfig, watcher

if TYPE_CHECKING:
    from tests.lab.realparts import ApiServer


def test_a_dead_host_is_marked_once_and_the_others_stay(real_apiserver: "ApiServer", tmp_path: Path) -> None:
    fleet, config = Fleet(real_apiserver), kubeconfig(real_apiserver, tmp_path / "config")
    for name in ("vm-1", "vm-2", "vm-3"):
        fleet.enrol(name)
    foreign, own = ("example.org/Backup", "True", "Done"), ("fairlead.dev/ProxyReady", "True", "ProxyReady")
    fleet.report("vm-3", foreign, ("Ready", "True", "HostReady"), own)
    with watcher(config, fleet.namespace, "-n", fleet.namespace) as running:
        fleet.renewing("vm-1", "vm-2", until=lambda: fleet.unreachable("vm-3"))
        version = fleet.server.must("GET", f"{fleet.workloads}/vm-3")["metadata"]["resourceVersion"]
        assert fleet.ready("vm-1", "vm-2")
        assert fleet.conditions("vm-3") == [
            foreign,
            ("Ready", "Unknown", "HostUnreachable"),
            own,
        ]
        running.wait_for("marked a silent host")
        events = fleet.server.must("GET", f"/apis/events.k8s.io/v1/namespaces/{fleet.namespace}/events")["items"]
        assert [event["regarding"]["name"] for event in events] == ["vm-3"]
    assert fleet.server.must("GET", f"{fleet.workloads}/vm-3")["metadata"]["resourceVersion"] == version
    assert running.process.returncode == 0 and "released" not in running.log.read_text()
    lease = fleet.server.must("GET", f"{fleet.leases}/fairlead-watcher")
    assert lease["spec"].get("holderIdentity", "") == "", "released"
