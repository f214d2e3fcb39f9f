"""The probes that ask a systemd, on one that was really booted, as the agent's own unprivileged user: units in
every state, and exec probes that root wrote as units and the privileged helper starts."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.config.test_config import EXAMPLE
from tests.lab.machine import Machine

pytestmark = pytest.mark.real

UNITS = "/run/systemd/system"
CONFIG = "/etc/fairlead/fairlead.toml"
TEMPLATE = """
[Service]
Type=oneshot
User=app
ExecStart=/bin/sh -eu /run/probes/%i
"""
NAMES = ("fine", "dies", "hangs", "stays", "simple", "often")
PROBES = "".join(
    f'\n[[probe]]\nname = "{name}"\nkind = "exec"\nunit = "fairlead-probe@{name}.service"\n' for name in NAMES
)
ATTEMPT = """
import asyncio, json, sys
from agent.adapters.probes import HostProber
from agent.core.probe import ProbeSpec
found = asyncio.run(HostProber().attempt(ProbeSpec(**json.loads(sys.argv[1]))))
print(json.dumps([found.ok, found.detail]))
"""

Found = tuple[bool | None, str]


@pytest.fixture(scope="module")
def host(machine: Machine) -> Iterator[Machine]:
    """Root's configuration, units and programs are there, and the privileged helper is open."""
    machine.write(CONFIG, EXAMPLE.read_text() + PROBES)
    machine.write(f"{UNITS}/fairlead-probe@.service", TEMPLATE)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "fairlead-helper.socket")
    yield machine
    machine.systemctl("stop", "fairlead-helper.socket")
    machine.run("sh", "-c", f"rm -r {UNITS}/fairlead-probe@* /run/probes {CONFIG}")
    machine.systemctl("daemon-reload")
    machine.systemctl("reset-failed")


def attempt(host: Machine, **spec: object) -> Found:
    """By the agent's code, as its user."""
    python = ("env", "PYTHONPATH=/usr/lib/fairlead/lib", "/usr/lib/fairlead/bin/python", "-P", "-c", ATTEMPT)
    said = host.run(*python, json.dumps({"name": "p", "timeout": 30.0, **spec}), user="fairlead")
    ok, detail = json.loads(said)
    return ok, detail


# units ---------------------------------------------------------------------------------------------


def unit(host: Machine, text: str, *verbs: str) -> Found:
    """What is found of a unit after these verbs of systemctl, none of which waits for its end."""
    host.write(f"{UNITS}/probed.service", text)
    host.systemctl("daemon-reload")
    for verb in verbs:
        host.systemctl(verb, "--no-block", "probed.service")
    return attempt(host, kind="systemd", unit="probed.service")


@pytest.fixture
def probed(host: Machine) -> Iterator[Machine]:
    yield host
    host.try_run("systemctl", "stop", "probed.service")
    host.try_run("systemctl", "reset-failed", "probed.service")
    host.run("rm", "-f", f"{UNITS}/probed.service")
    host.systemctl("daemon-reload")


def test_an_active_unit_passes_until_it_dies(probed: Machine) -> None:
    unit(probed, "[Service]\nExecStart=sleep infinity\n", "start")
    probed.wait_for("probed.service")
    assert attempt(probed, kind="systemd", unit="probed.service") == (True, "probed.service is active (running)")
    probed.kill(int(probed.show("probed.service", "MainPID")["MainPID"]), signal.SIGSEGV)
    probed.wait_for("probed.service", "failed")
    assert attempt(probed, kind="systemd", unit="probed.service") == (False, "probed.service is failed (failed)")


def test_a_unit_that_starts_is_not_active_yet(probed: Machine) -> None:
    assert unit(probed, "[Service]\nType=oneshot\nExecStart=sleep infinity\n", "start")[0] is False
    probed.wait_for("probed.service", "activating")
    found = attempt(probed, kind="systemd", unit="probed.service")
    assert found == (False, "probed.service is activating (start)")


def test_a_unit_that_reloads_is_up(probed: Machine) -> None:
    unit(probed, "[Service]\nExecStart=sleep infinity\nExecReload=sleep infinity\n", "start")
    probed.wait_for("probed.service")
    probed.systemctl("reload", "--no-block", "probed.service")
    probed.wait_for("probed.service", "reloading")
    found = attempt(probed, kind="systemd", unit="probed.service")
    assert found == (True, "probed.service is reloading (reload)")


def test_a_unit_that_was_never_started_is_inactive(probed: Machine) -> None:
    found = unit(probed, "[Service]\nExecStart=sleep infinity\n")
    assert found == (False, "probed.service is inactive (dead)")


def test_no_such_unit(host: Machine) -> None:
    found = attempt(host, kind="systemd", unit="nothing.service")
    assert found == (False, "there is no unit nothing.service")


def test_a_systemd_that_cannot_be_asked_is_no_verdict(host: Machine) -> None:
    """Its bus is stopped: the agent, who is not root, has no other way to it."""
    host.systemctl("stop", "dbus.socket", "dbus.service")
    try:
        ok, detail = attempt(host, kind="systemd", unit="sshd.service")
        assert ok is None and detail.startswith("cannot ask systemd: ")
        ok, detail = execute(host, "fine", "exit 0")
        assert ok is None and detail.startswith("cannot ask systemd on /run/dbus/system_bus_socket: ")
    finally:
        host.systemctl("start", "dbus.socket")


# exec probes that root wrote as units --------------------------------------------------------------


def execute(host: Machine, name: str, script: str, **spec: object) -> Found:
    host.write(f"/run/probes/{name}", script)
    return attempt(host, name=name, kind="exec", unit=f"fairlead-probe@{name}.service", **spec)


def more(host: Machine, name: str, lines: str) -> None:
    """What root adds for one probe alone."""
    host.write(f"{UNITS}/fairlead-probe@{name}.service.d/more.conf", lines)
    host.systemctl("daemon-reload")


def test_it_runs_as_whom_root_says_each_time_anew(host: Machine) -> None:
    for _ in range(8):
        assert execute(host, "fine", 'test "$(id -un)" = app') == (True, "fairlead-probe@fine.service: done")
    assert execute(host, "fine", "exit 3") == (False, "fairlead-probe@fine.service: failed: exit 3")
    assert execute(host, "fine", "exit 0")[0] is True, "a failure is no obstacle to the next try"


def test_a_program_that_dies(host: Machine) -> None:
    assert execute(host, "dies", "kill -KILL $$") == (False, "fairlead-probe@dies.service: failed: signal")


def test_at_its_timeout_the_whole_unit_is_killed(host: Machine) -> None:
    """It ignores every signal but SIGKILL and has its own session, but cannot leave its control group."""
    script = "trap '' TERM INT HUP; setsid sh -c \"trap '' TERM; sleep 9999\" & sleep 9999"
    found = execute(host, "hangs", script, timeout=3.0)
    assert found == (False, "fairlead-probe@hangs.service: no end within 3 s")
    host.wait_until(lambda: host.try_run("pgrep", "-u", "app").returncode == 1, "nothing of it is left")
    assert execute(host, "hangs", "exit 0")[0] is True


def test_a_unit_that_root_did_not_write(host: Machine) -> None:
    found = attempt(host, name="x", kind="exec", unit="fairlead-probe-x.service")
    assert found == (False, "there is no unit fairlead-probe-x.service")


def test_a_unit_whose_end_says_nothing_is_refused(host: Machine) -> None:
    fit = "must have Type=oneshot, and no RemainAfterExit"
    more(host, "stays", "[Service]\nRemainAfterExit=yes\n")
    assert execute(host, "stays", "exit 0") == (False, f"fairlead-probe@stays.service {fit}")
    more(host, "simple", "[Service]\nType=simple\n")
    assert execute(host, "simple", "exit 0") == (False, f"fairlead-probe@simple.service {fit}")


def test_systemds_own_limit_of_starts_does_not_count(host: Machine) -> None:
    more(host, "often", "[Unit]\nStartLimitIntervalSec=1000\nStartLimitBurst=1\n")
    assert [execute(host, "often", f"exit {code}")[0] for code in (1, 0, 0, 1)] == [False, True, True, False]


def test_the_helper_starts_nothing_but_what_root_configured(host: Machine) -> None:
    """The agent may be compromised: a unit that it names is not trusted."""
    asking = """
import asyncio, sys
from agent.adapters.helper import Helper
from agent.core.reasons import Reason
from agent.ports import Trouble
try:
    asyncio.run(Helper("/").ask(sys.argv[1], Reason.HELPER_REFUSED, probe=sys.argv[2]))
except Trouble as trouble:
    print(trouble.reason, trouble.detail)
"""
    python = ("env", "PYTHONPATH=/usr/lib/fairlead/lib", "/usr/lib/fairlead/bin/python", "-P", "-c", asking)
    for verb in ("probe run", "probe stop"):
        said = host.run(*python, verb, "other", user="fairlead")
        assert said.startswith("ProbeFailing cannot run fairlead-probe@other.service: ")
        assert host.run(*python, verb, "ssh.service/..", user="fairlead").startswith("HelperRefused ")
    assert host.run(*python, "probe run", "fine", user="app").startswith("HelperRefused ")
