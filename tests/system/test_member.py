"""The whole life of a member of the mesh: the installed package on a booted Debian, beside a cluster."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.machine import Machine
from tests.system import mesh as beside_it
from tests.system.host import SUITES, active, dpkg, install, state
from tests.system.mesh import (
    AGENT,
    CLUSTER,
    HOST,
    OLDER,
    OTHER,
    PROXY,
    READY,
    WITHIN,
    Mesh,
    pid,
    rules,
    until_a_new_agent,
    until_ready,
)

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
TARGET = "fairlead-ready.target"
EVERY = {AGENT, PROXY, "fairlead-door.socket", "fairlead-redirect.service", "fairlead-drain.service"}
# There the agent is dead when the package is removed, and the proxy does not listen to SIGTERM.
STUBBORN = SUITES[1]


@pytest.fixture(params=SUITES)
def member(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, Mesh]]:
    with beside_it.beside(request.param) as (machine, mesh):
        yield machine, mesh


def test_a_life(member: tuple[Machine, Mesh]) -> None:
    machine, mesh = member
    before = state(machine)
    install(machine, OLDER)
    beside_it.admit(machine, mesh)
    machine.systemctl("start", AGENT)
    until_ready(machine, mesh)
    machine.wait_until(lambda: active(machine) == EVERY, "each unit active, by one start")
    assert mesh.asked() == HOST, "through the proxy"

    an_agent_comes_and_goes(machine, mesh)
    somebody_flushes_every_rule(machine, mesh)
    a_reboot_on_which_spire_comes_late(machine, mesh)

    a_removal(machine, mesh)
    dpkg(machine, "--purge", "fairlead")
    after = state(machine)
    assert replace(after, rules=before.rules) == before, "but for nftables' own table, which was just loaded"


def an_agent_comes_and_goes(machine: Machine, mesh: Mesh) -> None:
    """No request fails, and the mesh is told nothing: there is nothing to tell."""
    proxy, there, writes = pid(machine, PROXY), rules(machine), mesh.status_writes()
    with mesh.under_load() as load:
        for happens in (kill, restart, upgrade):
            agent, sent = pid(machine, AGENT), load.sent
            happens(machine)
            until_a_new_agent(machine, agent)
            mesh.do(load.reached(sent + 100))
            assert (pid(machine, PROXY), mesh.ready()) == (proxy, READY), happens.__name__
    assert load.failed == []
    assert (rules(machine), mesh.status_writes()) == (there, writes)
    assert "Traceback" not in machine.journal(AGENT), "also when the modules of the one that ends are gone already"


def somebody_flushes_every_rule(machine: Machine, mesh: Mesh) -> None:
    there = rules(machine)
    machine.systemctl("restart", "nftables.service")
    machine.wait_until(lambda: rules(machine) == there, "rules that are back", WITHIN)
    assert (mesh.asked(), mesh.ready()) == (HOST, READY)


def a_reboot_on_which_spire_comes_late(machine: Machine, mesh: Mesh) -> None:
    """And nobody has made the folders below /run. The boot waits for neither, and the port is closed till then."""
    mesh.do(mesh.spire.stop())
    machine.path("/usr/lib/tmpfiles.d/fairlead.conf").unlink()
    machine.reboot()
    machine.wait_for("multi-user.target")
    machine.wait_until(lambda: mesh.ready()[0] == "False", "not Ready", WITHIN)
    assert (pid(machine, PROXY), mesh.asked()) == (0, "")
    wants = [f"--property={key}={TARGET}" for key in ("Wants", "After")]
    machine.run("systemd-run", "--no-block", "--unit=shop", "--property=RemainAfterExit=yes", *wants, "/bin/true")
    assert machine.show("shop.service", "ActiveState") == {"ActiveState": "inactive"}, "it waits for the mesh"
    if machine.suite == STUBBORN:
        (mesh.folder / "deaf").touch()
    mesh.do(mesh.spire.start())
    machine.wait_for("shop.service")
    machine.wait_for(TARGET)
    machine.systemctl("stop", "shop.service")
    until_ready(machine, mesh)
    assert mesh.asked() == HOST


def a_removal(machine: Machine, mesh: Mesh) -> None:
    """No request fails of a client that chooses among the hosts which EndpointSlices offer: this and another."""
    if machine.suite == STUBBORN:
        machine.systemctl("stop", AGENT)
    with mesh.under_load(mesh.chooser.url) as load:
        mesh.do(load.reached(20))
        assert mesh.listed() == {HOST, OTHER}
        dpkg(machine, "--remove", "fairlead")
        assert (mesh.ready()[0], mesh.listed()) == ("False", {OTHER})
        mesh.do(load.reached(load.sent + 20))
    assert load.failed == []
    assert (active(machine), rules(machine), mesh.asked()) == (set(), "", CLUSTER), "plain, as before"
    killed = "code=killed, status=9/KILL" in machine.journal(PROXY)
    assert killed == (machine.suite == STUBBORN)


def kill(machine: Machine) -> None:
    machine.kill(pid(machine, AGENT), signal.SIGKILL)


def restart(machine: Machine) -> None:
    machine.systemctl("restart", AGENT)


def upgrade(machine: Machine) -> None:
    install(machine)
