"""The machine that other tests run on: it is a whole one, starts clean, and nothing of it is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import netns
from tests.lab.machine import Machine, Wire

pytestmark = pytest.mark.real


def test_systemd_runs_it_and_nothing_failed(machine: Machine) -> None:
    assert machine.read("/proc/1/comm") == "systemd\n"
    assert machine.systemctl("is-system-running") == "running\n"
    assert machine.systemctl("--failed", "--plain", "--no-legend") == ""


def test_a_program_runs_in_it_as_any_user(machine: Machine) -> None:
    assert machine.run("id", "-un", user="fairlead-proxy") == "fairlead-proxy\n"
    assert machine.run("cat", input="said") == "said"
    assert machine.try_run("sleep", "60", within=0.1).returncode == 124
    with pytest.raises(AssertionError, match="No such file"):
        machine.run("cat", "/nonexistent")


def test_its_network_is_its_own(machine: Machine) -> None:
    assert machine.run("ip", "-br", "link").split()[0::4] == ["lo"]
    machine.run("nft", "add table inet mine")
    assert "table inet mine" in machine.space.run("nft", "list", "tables").splitlines()
    assert (
        "table inet mine"
        not in subprocess.run(
            ["nft", "list", "tables"], capture_output=True, text=True, check=True, env={**os.environ}
        ).stdout
    )
    machine.run("nft", "delete table inet mine")


def test_the_installed_fairlead_is_this_one(machine: Machine) -> None:
    assert machine.run("fairlead", "--version", user="fairlead").startswith("fairlead ")
    helper = ["/usr/lib/fairlead/bin/python", "-S", "-P", "-c", "import agent.privileged; print(agent.__file__)"]
    told = machine.run("env", "PYTHONPATH=/usr/lib/fairlead/lib", *helper)
    assert told == "/usr/lib/fairlead/lib/agent/__init__.py\n"


def test_a_unit_is_waited_for(machine: Machine) -> None:
    machine.write("/run/systemd/system/sleeper.service", "[Service]\nExecStart=sleep infinity\nUser=app\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "sleeper")
    machine.wait_for("sleeper")
    machine.kill(int(machine.show("sleeper", "MainPID")["MainPID"]), signal.SIGSEGV)
    machine.wait_for("sleeper", "failed")
    assert machine.show("sleeper", "Result", "ExecMainStatus") == {"Result": "signal", "ExecMainStatus": "11"}
    assert "sleeper.service" in machine.journal("sleeper")
    machine.systemctl("reset-failed", "sleeper")
    machine.path("/run/systemd/system/sleeper.service").unlink()
    machine.systemctl("daemon-reload")


def test_a_reboot_keeps_files_and_wires_and_nothing_else(fresh_machine: Callable[[], Machine]) -> None:
    made = fresh_machine()
    with netns.namespace() as neighbour:
        made.wires = [Wire(("192.0.2.7/24",), neighbour, ("192.0.2.8/24",))]
        made.write("/etc/kept", "kept")
        with made.powered():
            made.write("/run/gone", "gone")
            made.run("nft", "add table inet gone")
            made.reboot()
            assert made.read("/etc/kept") == "kept"
            assert not made.path("/run/gone").exists()
            assert made.run("nft", "list", "ruleset") == ""
            with pytest.raises(ConnectionRefusedError):
                neighbour.inside(lambda: socket.create_connection(("192.0.2.7", 1), timeout=10))
        with made.powered():
            assert made.read("/etc/kept") == "kept"


def test_it_leaves_nothing_behind(fresh_machine: Callable[[], Machine]) -> None:
    made = fresh_machine()
    with made.powered():
        leader, name = made.leader, made.name
        assert groups(name)
    made.__exit__(None, None, None)
    assert not Path(f"/proc/{leader}").exists()
    assert not groups(name)
    assert made.space.name not in [path.name for path in Path("/run/netns").iterdir()]


_RUN = """
import sys
from tests.lab.machine import Machine
made = Machine().__enter__()
made.boot()
print(made.name, made.space.name, flush=True)
sys.stdin.read()
"""


def test_it_ends_with_the_run_however_that_ends(root: None) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", _RUN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ},
    )
    assert run.stdout is not None
    name, space = run.stdout.readline().split()
    assert groups(name)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    subprocess.run(["ip", "netns", "del", space], check=True, env={**os.environ})
    end = time.monotonic() + 60
    while groups(name):
        assert time.monotonic() < end
        time.sleep(0.05)


def groups(name: str) -> list[Path]:
    return [Path(at, name) for at, folders, _ in os.walk("/sys/fs/cgroup") if name in folders]
