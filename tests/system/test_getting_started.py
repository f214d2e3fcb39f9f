"""docs/getting-started.md on a booted machine: each command that needs no cluster, in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.sandbox.stage import document_steps
from tests.lab.machine import Machine
from tests.system import built_packages
from tests.system import host as on_host
from tests.system.host import SUITES, install

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]


@pytest.mark.parametrize("suite", SUITES)
def test_the_page_as_far_as_there_is_no_cluster(suite: str) -> None:
    with on_host.booted(suite) as host:
        install(host)
        for step in document_steps.steps(built_packages.ROOT / "docs/getting-started.md"):
            if not step.needs:
                _take(host, step)
        _started(host)
        unit = "/etc/systemd/system/spire-agent.service"
        host.run("sh", "-c", "install -m 0755 /bin/true /usr/local/bin/spire-agent")
        # In a control group of the machine's own, without which version 247 reads no unit.
        in_a_unit = ("systemd-run", "--quiet", "--wait", "--pipe", "--setenv=SYSTEMD_LOG_COLOR=0")
        done = host.try_run(*in_a_unit, "systemd-analyze", "verify", unit)
        # It also reads units that want this one, and says what it ignores in them.
        said = [line for line in done.stderr.splitlines() if Path(unit).name in line]
        assert (done.returncode, done.stdout, said) == (0, "", []), done.stderr


def _started(host: Machine) -> None:
    """The redirect that was set and kept before is not suspended, and refuses no connection: there is no proxy."""
    assert host.show("fairlead", "UnitFileState", "ActiveState") == {
        "UnitFileState": "enabled",
        "ActiveState": "active",
    }
    found = json.loads(host.run("fairlead", "redirect", "show", "--json"))
    assert (found["inbound"], found["suspended"]) == ("released", "")


def _take(host: Machine, step: document_steps.Step) -> None:
    done = host.try_run("sh", "-c", step.command)
    assert done.returncode == step.code, f"{step.command}\n{done.stdout}{done.stderr}"
    assert step.output in done.stdout + done.stderr, step.command
