"""The package is upgraded beside one slot of the proxy in service, and beside two: on a booted Debian."""

from __future__ import annotations

import json

import pytest

from agent import __version__
from agent.sandbox.stage import document_steps
from tests.lab.machine import Machine
from tests.system import mesh as beside_it
from tests.system.built_packages import ROOT
from tests.system.host import CONFIG, SUITES, install
from tests.system.mesh import AGENT, HOST, OLDER, PROXY, WITHIN, Mesh, pid, until_a_new_agent, until_ready

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
STANDBY, TAKEOVER = "fairlead-proxy-standby.service", "fairlead-takeover.service"
EVERYWHERE, IN_A_SLOT = "00000000:102F", "0129FEA9:102F"  # 4143, as /proc/net/tcp has it


def test_slots_are_turned_on_after_an_upgrade_and_upgraded_in_service() -> None:
    with beside_it.beside(SUITES[0], addresses=(HOST,)) as (machine, mesh):
        install(machine, OLDER)
        beside_it.admit(machine, mesh)
        for step in document_steps.steps(ROOT / "docs/getting-started.md"):
            if step.section.startswith("7. ") and not step.needs:
                machine.run("sh", "-c", step.command)
        until_ready(machine, mesh)
        assert EVERYWHERE in listeners(machine)

        upgraded(machine, mesh, __version__)
        they_are_turned_on(machine, mesh)
        for version in (OLDER, __version__):
            upgraded(machine, mesh, version)
        it_is_replaced(machine, mesh)
        a_user_is_added(machine)
        the_standby_takes_over(machine, mesh)


def upgraded(machine: Machine, mesh: Mesh, version: str) -> None:
    """No request fails, and every proxy stays."""
    agent, proxies = pid(machine, AGENT), [pid(machine, unit) for unit in (PROXY, STANDBY)]
    with mesh.under_load() as load:
        mesh.do(load.reached(20))
        install(machine, version)
        until_a_new_agent(machine, agent)
        mesh.do(load.reached(load.sent + 40))
    assert load.failed == []
    assert [pid(machine, unit) for unit in (PROXY, STANDBY)] == proxies


def they_are_turned_on(machine: Machine, mesh: Mesh) -> None:
    text = machine.read(CONFIG)
    machine.write(CONFIG, text.replace("[proxy]\n", "[proxy]\nslots = true\nstandby = true\n"))
    machine.run("fairlead", "redirect", "apply")
    machine.run("fairlead", "reload", "--restart-proxy", within=180)
    until_ready(machine, mesh)
    there = listeners(machine)
    assert IN_A_SLOT in there and EVERYWHERE not in there
    stands_by(machine)
    assert "without a drain" in machine.run("fairlead", "doctor", "replacement")


def stands_by(machine: Machine) -> None:
    def ready() -> bool:
        status = json.loads(machine.try_run("fairlead", "status", "--json").stdout or "{}")
        standby = status.get("facts", {}).get("standby", "unknown")
        return bool(standby != "unknown" and standby["state"] == "ready")

    machine.wait_until(ready, "the second proxy is ready", WITHIN)


def it_is_replaced(machine: Machine, mesh: Mesh) -> None:
    with mesh.under_load() as load:
        mesh.do(load.reached(20))
        machine.run("fairlead", "proxy", "restart", within=180)
        stands_by(machine)
        mesh.do(load.reached(load.sent + 20))
    assert load.failed == []
    upgraded(machine, mesh, OLDER)


def a_user_is_added(machine: Machine) -> None:
    """What was prepared for a takeover holds no longer then, and the agent has it prepared again."""
    why = "from agent.proxyunit import prepared; print(prepared.lost('/'))"
    command = ("runuser", "-u", "fairlead", "--", "/usr/lib/fairlead/bin/python", "-ISc", why)
    assert machine.run(*command).strip() == ""
    machine.run("useradd", "later")
    machine.wait_until(lambda: machine.run(*command).strip() == "", "it is prepared again", WITHIN)


def the_standby_takes_over(machine: Machine, mesh: Mesh) -> None:
    """After an upgrade of the package too: what it loads was prepared by the version before."""
    main = pid(machine, PROXY)
    machine.wait_until(lambda: awaited(machine, main), "the takeover waits for main", WITHIN)
    with mesh.under_load() as load:
        mesh.do(load.reached(20))
        machine.kill(main)
        machine.wait_until(lambda: "go to the second slot" in machine.journal(TAKEOVER), "it takes over", WITHIN)
        mesh.do(load.reached(load.sent + 40))
    assert len(load.failed) <= 2, load.failed


def awaited(machine: Machine, process: int) -> bool:
    """The takeover holds a pidfd of it."""
    found = machine.show(TAKEOVER, "MainPID")["MainPID"]
    return f"Pid:\t{process}\n" in machine.try_run("sh", "-c", f"cat /proc/{found}/fdinfo/*").stdout


def listeners(machine: Machine) -> set[str]:
    return {line.split()[1] for line in machine.run("cat", "/proc/net/tcp").splitlines()[1:] if " 0A " in line}
