"""The proxy's unit on a really booted systemd, without an agent: what gate, launcher and hooks hold alone."""

from __future__ import annotations

import json

import pytest

from tests.contract.unit_fixtures import clean_machine as clean_machine
from tests.contract.unit_fixtures import client_network as client_network
from tests.lab import installed, netns, unit_machine
from tests.lab.machine import Machine
from tests.lab.proxy_neighbours import ADDRESS, DIRECT, PROXIED, RESET
from tests.lab.unit_machine import BINARY, PROXY, UID, dial, dialling, dialling_out, helper, levels, pid, started

pytestmark = pytest.mark.real

GATE = "/run/fairlead-proxy/gate.json"  # the record of what a start waits for


def said_more(machine: Machine, got: list[str], word: str) -> None:
    """Of what is got from now on, three in a row are this."""
    before = len(got)
    machine.wait_until(lambda: len(got) >= before + 4 and set(got[-3:]) == {word}, f"{word}, after {got[-5:]}")


def crashes(machine: Machine) -> int:
    return int(machine.read("/run/fairlead-proxy/starts").split()[0])


def active(machine: Machine) -> str:
    return machine.show(PROXY, "ActiveState")["ActiveState"]


# its life ------------------------------------------------------------------------------------------


def test_a_proxy_that_is_started_is_armed_and_then_active(machine: Machine, client: netns.Namespace) -> None:
    started(machine)
    assert levels(machine) == ("on", "on")
    assert dial(client) == PROXIED


def test_its_process_is_nobody_in_a_sandbox_with_root_files_environment_alone(machine: Machine) -> None:
    number = started(machine)
    status = machine.read(f"/proc/{number}/status")
    assert f"Uid:\t{unit_machine.UID}" in status
    assert "CapBnd:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
    names = {line.partition("=")[0] for line in machine.read(f"/proc/{number}/environ").split("\0") if line}
    assert all(name.startswith("LINKERD2_PROXY_") for name in names), names
    assert machine.read(f"/proc/{number}/cgroup").strip().endswith(PROXY)


def test_its_time_to_stop_is_the_grace_of_the_configuration(machine: Machine) -> None:
    unit_machine.configure(machine, grace=17)
    started(machine)
    assert machine.show(PROXY, "TimeoutStopUSec") == {"TimeoutStopUSec": "27s"}


def test_a_start_only_enqueues_and_the_boot_waits_for_no_identity(machine: Machine) -> None:
    machine.systemctl("stop", "workload-api")
    helper(machine, "proxy start")
    machine.wait_for(PROXY, "activating")
    machine.wait_until(
        lambda: machine.path("/run/fairlead-proxy/gate.json").exists(), "the gate says what it waits for"
    )
    assert json.loads(machine.read("/run/fairlead-proxy/gate.json"))["reason"].startswith("WorkloadApi")
    waiting = int(machine.show(PROXY, "MainPID")["MainPID"])
    assert waiting != 0 and pid(machine) == 0, "a start that waits is no proxy"
    helper(machine, "proxy kill")
    assert int(machine.show(PROXY, "MainPID")["MainPID"]) == waiting, "and it is not killed as one"
    machine.systemctl("start", "workload-api")
    machine.wait_for(PROXY)
    assert pid(machine) == waiting, "it has become the proxy"


def test_while_the_host_boots_a_closed_gate_ends_the_start(machine: Machine) -> None:
    """That is not a failure, restarts nothing, and counts as no crash."""
    machine.systemctl("stop", "workload-api")
    started_before = machine.path("/run/fairlead-proxy/booted")
    started_before.unlink(missing_ok=True)
    systemctl = machine.path("/usr/sbin/systemctl")  # root's programs are looked for here first
    systemctl.write_text(
        '#!/bin/sh\n[ "$1" = is-system-running ] || exec /usr/bin/systemctl "$@"\necho starting\nexit 1\n'
    )
    systemctl.chmod(0o755)
    try:
        machine.run("/usr/bin/systemctl", "--no-block", "start", PROXY)
        machine.wait_until(lambda: machine.path(GATE).exists(), "the gate says what it waits for")
        machine.wait_until(lambda: active(machine) == "inactive", "the start has ended", 60)
        assert machine.show(PROXY, "NRestarts", "ExecMainStatus") == {"NRestarts": "0", "ExecMainStatus": "75"}
        assert crashes(machine) == 0 and not started_before.exists()
    finally:
        systemctl.unlink()
    machine.systemctl("start", "workload-api")
    started(machine)
    assert crashes(machine) == 0


def test_anchors_that_are_corrected_start_it_without_an_update_of_the_workload_api(machine: Machine) -> None:
    """The gate has had its SVID; the next one comes when half of that one's life is over."""
    anchors, record = "/etc/fairlead/trust-anchors.pem", "/run/fairlead-proxy/gate.json"
    right = machine.read(anchors)
    machine.path(anchors).unlink()
    try:
        helper(machine, "proxy start")
        machine.wait_until(lambda: machine.path(record).exists(), "the gate says what it waits for")
        assert json.loads(machine.read(record))["reason"] == "TrustAnchorsUnusable"
        by_hand = machine.try_run("setpriv", f"--reuid={UID}", "--clear-groups", "fairlead", "identity-gate")
        assert by_hand.returncode == 69 and by_hand.stdout.startswith("TrustAnchorsUnusable: "), by_hand
    finally:
        machine.write(anchors, right)
    machine.wait_for(PROXY)
    assert not machine.path(record).exists()


def test_without_a_binary_that_is_the_reason_and_stays_it(machine: Machine) -> None:
    number = started(machine)
    machine.path(BINARY).unlink()
    machine.kill(number)
    machine.wait_until(lambda: crashes(machine) >= 3, "three crashes are counted", 120)
    said = machine.journal(PROXY)
    assert f"cannot start the proxy: {BINARY}: No such file or directory" in said
    record = machine.path("/run/fairlead-proxy/gate.json")
    machine.wait_until(record.exists, "the pause says why")
    found = json.loads(record.read_text())
    assert found["reason"] == "ProxyBinaryUnusable" and found["detail"].startswith(BINARY)
    unit_machine.stand_in(machine)
    machine.wait_for(PROXY, within=120)


def test_a_start_that_is_killed_while_it_waits_is_followed_by_another(machine: Machine) -> None:
    machine.systemctl("stop", "workload-api")
    helper(machine, "proxy start")
    machine.wait_until(machine.path(GATE).exists, "the gate says what it waits for")
    waiting = machine.show(PROXY, "MainPID")["MainPID"]
    machine.run("kill", "-9", waiting)
    machine.wait_until(lambda: machine.show(PROXY, "MainPID")["MainPID"] not in ("0", waiting), "another waits")
    machine.systemctl("start", "workload-api")
    machine.wait_for(PROXY)
    assert crashes(machine) == 1
    assert levels(machine) == ("on", "on")


@pytest.mark.parametrize("broken", ["absent", "without its libraries"])
def test_an_interpreter_that_cannot_begin_is_tried_again_after_a_pause(machine: Machine, broken: str) -> None:
    """Neither the start program nor what follows an end can pause then. Once it is repaired, the proxy returns."""
    number = started(machine)
    python = machine.path(installed.PYTHON)
    whole = python.rename(python.with_name("whole"))
    try:
        if broken != "absent":
            python.write_text("#!/bin/sh\nexit 127\n")
            python.chmod(0o755)
        machine.kill(number)
        for _ in range(2):
            machine.wait_until(lambda: pauses(machine), "the unit pauses")
            machine.wait_until(lambda: not pauses(machine), "it tries again")
    finally:
        whole.rename(python)
    machine.wait_for(PROXY)
    assert pid(machine) not in (0, number) and levels(machine) == ("on", "on")


def pauses(machine: Machine) -> bool:
    return "sleep 1" in machine.try_run("systemctl", "status", PROXY).stdout


def test_after_run_is_emptied_a_proxy_returns_by_the_tested_path_and_the_next_by_what_that_prepared(
    machine: Machine,
) -> None:
    def restarted() -> int:
        """How often something prepared was used."""
        before, first = machine.journal(PROXY, 100000).count("(prepared)"), pid(machine)
        machine.kill(first)
        machine.wait_until(lambda: pid(machine) not in (0, first), "another proxy is there")
        machine.wait_for(PROXY)
        machine.wait_until(lambda: levels(machine) == ("on", "on"), "the redirect is on")
        return machine.journal(PROXY, 100000).count("(prepared)") - before

    started(machine)
    assert restarted() == 3, "its end, its start and its redirect"
    machine.run("sh", "-c", "rm -rf /run/fairlead-prepared /run/fairlead-proxy/*")
    assert restarted() == 0
    first_in_a_row(machine)
    assert restarted() == 3


def first_in_a_row(machine: Machine) -> None:
    machine.path("/run/fairlead-proxy/starts").unlink()


def test_the_last_lines_come_through_the_helper(machine: Machine) -> None:
    number = started(machine)
    lines = helper(machine, "proxy logs")["lines"]
    assert isinstance(lines, list) and any(f"[{number}]: " in line for line in lines)


def test_its_environment_is_told_and_compared_with_the_running_one(machine: Machine) -> None:
    started(machine)
    told = machine.run("fairlead", "proxy", "env")
    assert f"LINKERD2_PROXY_INBOUND_IPS={ADDRESS}\n" in told and "BEGIN CERTIFICATE" not in told
    assert machine.run("fairlead", "proxy", "env", "--diff") == ""
    unit_machine.configure(machine, grace=17)
    done = machine.try_run("fairlead", "proxy", "env", "--diff")
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        1,
        "LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD: 3s → 17s",
    )
    assert "Started fairlead-proxy" in machine.run("fairlead", "proxy", "logs")


# the failure policy --------------------------------------------------------------------------------


@pytest.mark.parametrize("outbound", ["open", "closed"])
def test_kill_9_closes_a_closed_port_until_the_next_is_ready(
    machine: Machine, client: netns.Namespace, outbound: str
) -> None:
    unit_machine.configure(machine, outbound=outbound)
    first = started(machine)
    with dialling(client) as got, dialling_out(machine) as got_out:
        said_more(machine, got_out, PROXIED)
        # The next one waits for an identity, so the state until then can be read.
        machine.systemctl("stop", "workload-api")
        machine.kill(first)
        machine.wait_until(lambda: machine.path(GATE).exists(), "it waits")
        assert levels(machine) == ("block", "released" if outbound == "open" else "block")
        said_more(machine, got_out, DIRECT if outbound == "open" else RESET)
        machine.systemctl("start", "workload-api")
        machine.wait_for(PROXY)
        said_more(machine, got_out, PROXIED)
    assert DIRECT not in got and PROXIED in got
    assert set(got_out) == {PROXIED, RESET} | ({DIRECT} if outbound == "open" else set()), "reset for a moment"
    assert pid(machine) != first
    assert levels(machine) == ("on", "on")


def test_an_open_port_is_plain_while_no_proxy_is_there(machine: Machine, client: netns.Namespace) -> None:
    unit_machine.configure(machine, inbound="open")
    first = started(machine)
    machine.systemctl("stop", "workload-api")
    machine.kill(first)
    machine.wait_until(lambda: machine.path(GATE).exists(), "it waits")
    assert levels(machine)[0] == "released"
    assert dial(client) == DIRECT
    machine.systemctl("start", "workload-api")
    machine.wait_for(PROXY)
    assert dial(client) == PROXIED


@pytest.mark.parametrize("outbound", ["open", "closed"])
def test_a_proxy_that_cannot_start_backs_off_and_its_port_stays_closed(
    machine: Machine, client: netns.Namespace, outbound: str
) -> None:
    unit_machine.configure(machine, outbound=outbound)
    started(machine)
    unit_machine.program(machine, "#!/bin/sh\nexit 64\n")
    with dialling(client) as got, dialling_out(machine) as got_out:
        machine.kill(pid(machine))
        machine.wait_until(lambda: crashes(machine) >= 3, "three crashes are counted", 120)
        assert levels(machine)[0] == "block"
        said_more(machine, got_out, DIRECT if outbound == "open" else RESET)
        unit_machine.stand_in(machine)
        machine.wait_for(PROXY, within=120)
    assert DIRECT not in got
    assert (DIRECT in got_out) is (outbound == "open")
    assert "in a row; the next start in" in machine.journal(PROXY)
