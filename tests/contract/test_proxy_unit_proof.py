"""What replaces the proxy first proves that the next one would work, on a really booted systemd."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from agent.sandbox.identity.ca import Authority
from tests.contract.test_proxy_unit_agent import AGENT, NEXT, is_on, proxy_is, runs, until
from tests.lab import netns, unit_machine
from tests.lab.machine import Machine
from tests.lab.proxy_neighbours import ADDRESS, IDENTITY, PROXIED, SOCKET
from tests.lab.unit_machine import PROXY, dial, levels, pid

pytestmark = pytest.mark.real

CONFIG = "/etc/fairlead/fairlead.toml"
ANCHORS = "/etc/fairlead/trust-anchors.pem"


@pytest.fixture
def machine(proxy_host: tuple[Machine, netns.Namespace]) -> Iterator[Machine]:
    with unit_machine.clean(proxy_host[0]) as machine:
        right = machine.read(ANCHORS)
        yield machine
        machine.write(ANCHORS, right)


@pytest.fixture
def client(proxy_host: tuple[Machine, netns.Namespace]) -> netns.Namespace:
    return proxy_host[1]


def others_anchors(machine: Machine) -> None:
    machine.write(ANCHORS, Authority("root.example").pem)


def another_identity(machine: Machine) -> None:
    machine.write(CONFIG, machine.read(CONFIG).replace(IDENTITY, f"{IDENTITY}-other"))


def no_binary(machine: Machine) -> None:
    machine.path(unit_machine.BINARY).chmod(0o644)


def another_control_plane(machine: Machine) -> None:
    text = machine.read(CONFIG)
    machine.write(CONFIG, text.replace(f'policy = "{ADDRESS}:8090"', 'policy = "policy.nowhere.invalid:8090"'))


def no_workload_api(machine: Machine) -> None:
    text = machine.read(CONFIG)
    machine.write(CONFIG, text.replace(SOCKET, "/run/spire/else.sock"))


DAMAGES: dict[str, Callable[[Machine], None]] = {
    "IdentityUntrusted": others_anchors,
    "ProxyIdentityMissing": another_identity,
    "ProxyBinaryUnusable": no_binary,
    "ControlPlaneUnresolved": another_control_plane,
    "WorkloadApiAbsent": no_workload_api,
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_a_restart_that_cannot_work_is_refused_and_the_one_that_works_is_left_alone(
    machine: Machine, client: netns.Namespace, reason: str
) -> None:
    is_on(machine)
    until(machine, proxy_is("ready"), "the agent sees it ready")
    before = pid(machine)
    DAMAGES[reason](machine)
    for words in ("restart", "check"):
        refused = machine.try_run("fairlead", "proxy", words)
        assert refused.returncode == 1 and reason in refused.stderr, refused
    assert "the running proxy is unchanged" in machine.try_run("fairlead", "proxy", "restart").stderr
    assert (pid(machine), levels(machine), dial(client)) == (before, ("on", "on"), PROXIED)


def test_one_that_would_work_is_proved_and_restarted(machine: Machine) -> None:
    is_on(machine)
    until(machine, proxy_is("ready"), "the agent sees it ready")
    before = pid(machine)
    assert "no problem found" in machine.run("fairlead", "proxy", "check")
    machine.run("fairlead", "proxy", "restart", "--no-wait")
    machine.wait_until(lambda: pid(machine) not in (0, before), "another one runs")
    machine.wait_for(PROXY)


def test_an_upgrade_to_what_cannot_run_stops_nothing_and_force_does(machine: Machine) -> None:
    is_on(machine)
    until(machine, proxy_is("ready"), "the agent sees it ready")
    before = pid(machine)
    unit_machine.program(machine, "#!/bin/sh\nexit 3\n", NEXT)
    refused = machine.try_run("fairlead", "proxy", "upgrade", NEXT)
    assert refused.returncode == 1 and "ProxyBinaryUnusable" in refused.stderr and "--force" in refused.stderr
    assert pid(machine) == before
    forced = machine.try_run("fairlead", "proxy", "upgrade", NEXT, "--force", "--no-wait")
    assert forced.returncode == 0, forced
    machine.wait_until(lambda: pid(machine) != before, "it is stopped")
    machine.wait_until(lambda: "exit 3" in machine.journal(AGENT), "it did not work", 120)
    until(machine, proxy_is("ready"), "the previous one serves again")
    assert runs(machine) == unit_machine.VERSION


def test_a_reload_whose_restart_cannot_work_takes_nothing(machine: Machine) -> None:
    is_on(machine)
    until(machine, proxy_is("ready"), "the agent sees it ready")
    before = pid(machine)
    another_control_plane(machine)
    refused = machine.try_run("fairlead", "reload", "--restart-proxy")
    assert refused.returncode == 1 and "ControlPlaneUnresolved" in refused.stderr, refused
    assert "policy.nowhere.invalid" in refused.stderr and pid(machine) == before
