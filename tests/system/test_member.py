"""The whole life of a member of the mesh: the installed package on a booted Debian, beside a cluster."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from agent.sandbox.stage import document_steps, greetings
from agent.sandbox.stage.greetings import MAIL_PORT
from tests.lab.machine import Machine
from tests.system import mesh as beside_it
from tests.system.built_packages import ROOT
from tests.system.host import CONFIG, SUITES, active, dpkg, install, state
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
EVERY = {AGENT, PROXY, "fairlead-helper.socket", "fairlead-redirect.service", "fairlead-drain.service"}
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
    the_start_of_the_page(machine, mesh)
    machine.wait_until(lambda: active(machine) == EVERY, "each unit active, by one start")
    assert mesh.asked() == HOST, "through the proxy"

    it_is_drained_and_returns(machine, mesh)
    it_leaves_and_says_so(machine, mesh)
    a_verb_is_given_during_a_reload(machine)
    an_agent_comes_and_goes(machine, mesh)
    somebody_flushes_every_rule(machine, mesh)
    a_server_that_speaks_first_becomes_opaque(machine, mesh)
    a_reboot_on_which_spire_comes_late(machine, mesh)

    a_removal(machine, mesh)
    dpkg(machine, "--purge", "fairlead")
    after = state(machine)
    assert replace(after, rules=before.rules) == before, "but for nftables' own table, which was just loaded"


def the_start_of_the_page(machine: Machine, mesh: Mesh) -> None:
    """docs/getting-started.md sets the redirect on trial and keeps it before the agent was ever started. No plain
    client of the application sees an error on that way."""
    with mesh.under_load() as load:
        mesh.do(load.reached(20))
        for step in document_steps.steps(ROOT / "docs/getting-started.md"):
            if step.section.startswith("7. ") and not step.needs:
                machine.run("sh", "-c", step.command)
        assert machine.show(AGENT, "UnitFileState") == {"UnitFileState": "enabled"}
        until_ready(machine, mesh)
        mesh.do(load.reached(load.sent + 20))
    assert load.failed == []
    assert json.loads(machine.run("fairlead", "redirect", "show", "--json"))["suspended"] == ""


def it_is_drained_and_returns(machine: Machine, mesh: Mesh) -> None:
    """Peers choose another host, and the proxy keeps serving."""
    proxy = pid(machine, PROXY)
    machine.run("fairlead", "drain", within=120)
    assert (mesh.ready()[0], mesh.listed(), mesh.asked()) == ("False", {OTHER}, HOST)
    machine.run("fairlead", "undrain")
    until_ready(machine, mesh)
    assert pid(machine, PROXY) == proxy


def it_leaves_and_says_so(machine: Machine, mesh: Mesh) -> None:
    """A proxy that was stopped and a redirect that was removed by that order are neither a fault nor a problem."""
    machine.run("fairlead", "leave")
    seen = machine.try_run("fairlead", "status")
    assert (seen.returncode, mesh.asked()) == (3, CLUSTER)
    assert seen.stdout.startswith("shop/db-1  Left: ") and "✗" not in seen.stdout, seen.stdout
    intended = {line.split()[1] for line in seen.stdout.splitlines() if line.startswith("  – ")}
    assert {"ProxyReady", "RedirectActive"} <= intended, seen.stdout
    assert json.loads(machine.try_run("fairlead", "status", "--json").stdout)["problems"] == []
    machine.run("fairlead", "join")
    until_ready(machine, mesh)


def a_verb_is_given_during_a_reload(machine: Machine) -> None:
    """The agent adopts what `redirect apply` approved, and keeps answering: no verb ends with 69."""
    text = machine.read(CONFIG)
    wider = text.replace(
        'outbound_networks = ["10.42.0.0/16"]', 'outbound_networks = ["10.42.0.0/16", "10.43.0.0/16"]'
    )
    assert wider != text
    for edited in (wider, text):
        machine.write(CONFIG, edited)
        looks = "for n in 1 2 3 4 5 6; do fairlead status >/dev/null || test $? = 3 || exit 69; done"
        machine.run("sh", "-ec", f"fairlead redirect apply; {looks}")


def an_agent_comes_and_goes(machine: Machine, mesh: Mesh) -> None:
    """No request fails, and nothing is published: nothing has changed."""
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


def a_server_that_speaks_first_becomes_opaque(machine: Machine, mesh: Mesh) -> None:
    """By the commands that the refusal of its port prints. Until then its port is as it was."""
    mesh.start_mail(machine)
    machine.wait_until(lambda: mesh.mailed() == CLUSTER, "a mail server", WITHIN)
    text = machine.read(CONFIG)
    mesh.call(greetings.declare, mesh.api)
    machine.write(CONFIG, greetings.declared(text, []))
    refused = machine.try_run("fairlead", "redirect", "apply")
    assert refused.returncode == 1 and "ServerSpeaksFirst" in refused.stderr, refused.stderr
    assert greetings.remedy(str(MAIL_PORT)) in refused.stderr
    assert mesh.mailed() == CLUSTER
    mesh.call(greetings.annotate, mesh.api, str(MAIL_PORT))
    machine.write(CONFIG, greetings.declared(text, [MAIL_PORT]))
    refused = machine.try_run("fairlead", "redirect", "apply")
    assert refused.returncode == 1 and "fairlead proxy restart" in refused.stderr, refused.stderr
    assert (mesh.mailed(), mesh.asked()) == (CLUSTER, HOST)
    machine.run("fairlead", "proxy", "restart", within=120)
    machine.run("fairlead", "redirect", "apply")
    assert (mesh.mailed(), mesh.asked()) == (HOST, HOST)
    assert mesh.ready() == READY


def a_reboot_on_which_spire_comes_late(machine: Machine, mesh: Mesh) -> None:
    """And the folders below /run do not exist. The boot waits for neither, and the port is closed till then."""
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
