"""`fairlead list` on a real kube-apiserver, with and without a watcher."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.host import clocks
from tests.watcher.watching import SYSTEM, Fleet, watcher


def listed(capsys: pytest.CaptureFixture[str], config: Path, *options: str) -> tuple[list[dict[str, Any]], str]:
    assert main.main(["list", "--kubeconfig", str(config), "-o", "json", *options]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def test_what_each_host_is(fleet: Fleet, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, zone in (("vm-1", "a"), ("vm-2", ""), ("bare", "")):
        fleet.enrol(name, zone=zone, duration=40)
    now = clocks.exact_wall()
    fleet.patch(f"{fleet.leases}/vm-1", {"spec": {"renewTime": now}})
    noted = {"fairlead.dev/agent-version": "1.2", "fairlead.dev/proxy-version": "2.366.0"}
    fleet.patch(f"{fleet.leases}/vm-1", {"metadata": {"annotations": noted}})
    fleet.patch(f"{fleet.workloads}/vm-1", {"metadata": {"labels": {"workloadGroup": "db"}}})
    fleet.report("vm-2", ("Ready", "False", "ProbeFailing"))
    fleet.server.must("DELETE", f"{fleet.leases}/bare")
    rows, said = listed(capsys, config, "-n", fleet.namespace)
    assert [(row["name"], row["ready"], row["reason"]) for row in rows] == [
        ("bare", "True", "HostReady"),
        ("vm-1", "True", "HostReady"),
        ("vm-2", "False", "ProbeFailing"),
    ]
    assert (rows[1]["zone"], rows[1]["agent"], rows[1]["proxy"], rows[1]["renewed"]) == (
        "a",
        "1.2",
        "2.366.0",
        now,
    )
    assert rows[0]["renewed"] == "" and "no watcher runs" in said
    grouped, _ = listed(capsys, config, "-A", "--group", "db")
    assert [row["name"] for row in grouped if row["namespace"] == fleet.namespace] == ["vm-1"]
    unready, _ = listed(capsys, config, "-n", fleet.namespace, "--not-ready")
    assert [row["name"] for row in unready] == ["vm-2"]
    assert main.main(["list", "--kubeconfig", str(config), "-n", fleet.namespace, "-o", "wide"]) == 0
    head, _, line, _ = capsys.readouterr().out.splitlines()
    columns = "NAMESPACE NAME ZONE READY REASON SINCE RENEWED HELD GROUP ADDRESS AGENT PROXY SVID-ENDS TEMPLATE"
    assert head.split() == columns.split() and fleet.addresses["vm-1"] in line and " ago " in line


def test_hosts_that_are_held_say_why(fleet: Fleet, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        fleet.enrol(f"vm-{number}")
    with watcher(config, "-n", fleet.namespace) as running:
        fleet.renewing(until=lambda: running.metric("fairlead_watcher_held_hosts") == 3)
        fleet.renewing(until=lambda: _held(fleet, config, capsys) == ["FleetSilent"] * 3)
        running.wait_for("FleetSilent")
        path = f"/apis/events.k8s.io/v1/namespaces/{SYSTEM}/events"
        fleet.renewing(
            until=lambda: (
                ("Lease", "FleetSilent")
                in {(one["regarding"]["kind"], one["reason"]) for one in fleet.server.must("GET", path)["items"]}
            )
        )


def _held(fleet: Fleet, config: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    rows, said = listed(capsys, config, "-n", fleet.namespace, "--not-ready")
    assert "no watcher runs" not in said
    return [row["held"] for row in rows]


def test_a_user_without_rights_is_told_which(
    fleet: Fleet, config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = config.read_text()
    token = json.loads(text)["users"][0]["user"]["token"]
    other = tmp_path / "other"
    other.write_text(text.replace(token, fleet.server.host_token))
    assert main.main(["list", "--kubeconfig", str(other), "-n", fleet.namespace]) == 1
    said = capsys.readouterr().err
    assert "cannot list hosts" in said
    assert f"allow list of externalworkloads in the namespace {fleet.namespace}" in said


def test_watch_shows_the_fleet_again_until_it_is_interrupted(fleet: Fleet, config: Path) -> None:
    fleet.enrol("vm-1", zone="a")
    argv = [sys.executable, "-m", "agent", "list", "--kubeconfig", str(config), "-n", fleet.namespace]
    with subprocess.Popen(
        [*argv, "--watch", "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ}
    ) as watching:
        assert watching.stdout is not None
        assert _names(watching.stdout.readline()) == ["vm-1"]
        fleet.enrol("vm-2")
        while _names(watching.stdout.readline()) != ["vm-1", "vm-2"]:
            pass
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130


def _names(line: bytes) -> list[str]:
    return [row["name"] for row in json.loads(line)]
