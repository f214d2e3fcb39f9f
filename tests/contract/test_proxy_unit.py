"""The proxy's unit on a really booted systemd: what gate, launcher and hooks hold, with an agent and without.

The application tells who dialled it, so a connection that got past the proxy is known by the client's own address.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from tests import installed, netns, proxymachine
from tests.machine import Machine
from tests.proxymachine import ADDRESS, CLIENT_ADDRESS, PORT, PROXY

pytestmark = pytest.mark.real

DIRECT, PROXIED, RESET, SILENT = "direct", "proxied", "reset", "silent"


@pytest.fixture(scope="module")
def host(root: None) -> Iterator[tuple[Machine, netns.Namespace]]:
    with proxymachine.booted() as made:
        yield made


@pytest.fixture
def machine(host: tuple[Machine, netns.Namespace]) -> Iterator[Machine]:
    made, _ = host
    proxymachine.configure(made)
    proxymachine.stand_in(made)
    yield made
    proxymachine.quiet(made)


@pytest.fixture
def client(host: tuple[Machine, netns.Namespace]) -> netns.Namespace:
    return host[1]


def door(machine: Machine, verb: str) -> dict[str, object]:
    program = ["/usr/lib/fairlead/bin/python", "-S", "-P", "-m", "agent.privileged"]
    told = machine.run("env", f"PYTHONPATH={installed.LIBRARY}", *program, input=json.dumps({"verb": verb}) + "\n")
    answer: dict[str, object] = json.loads(told)
    return answer


def started(machine: Machine) -> int:
    """The proxy is started and armed; its pid."""
    door(machine, "proxy start")
    machine.wait_for(PROXY)
    return pid(machine)


def pid(machine: Machine) -> int:
    return int(machine.show(PROXY, "MainPID")["MainPID"])


def levels(machine: Machine) -> tuple[object, object]:
    answer = door(machine, "redirect check")
    return answer["inbound"], answer["outbound"]


def dial(client: netns.Namespace) -> str:
    """What a client gets of the application's port."""
    try:
        with client.inside(lambda: socket.create_connection((ADDRESS, PORT), timeout=5)) as connection:
            connection.settimeout(5)
            connection.sendall(b"\x00hello\n")  # a proxy waits for the first bytes, to know the protocol
            told = connection.recv(100).decode()
    except (ConnectionResetError, ConnectionRefusedError):
        return RESET
    except OSError:  # no answer in time; no wire, while the machine boots
        return SILENT
    if not told:
        return RESET
    return DIRECT if told == f"application {CLIENT_ADDRESS}\n" else PROXIED


@contextlib.contextmanager
def dialling(client: netns.Namespace) -> Iterator[set[str]]:
    """A client dials without a pause meanwhile; all that it got."""
    got: set[str] = set()
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            got.add(dial(client))

    caller = threading.Thread(target=run)
    caller.start()
    try:
        yield got
    finally:
        over.set()
        caller.join()


def crashes(machine: Machine) -> int:
    return int(json.loads(machine.read("/run/fairlead-proxy/starts"))["crashes"])


# its life ------------------------------------------------------------------------------------------


def test_a_proxy_that_is_started_is_armed_and_then_active(machine: Machine, client: netns.Namespace) -> None:
    started(machine)
    assert levels(machine) == ("on", "on")
    assert dial(client) == PROXIED


def test_its_process_is_nobody_in_a_sandbox_with_root_files_environment_alone(machine: Machine) -> None:
    number = started(machine)
    status = machine.read(f"/proc/{number}/status")
    assert f"Uid:\t{proxymachine.UID}" in status
    assert "CapBnd:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
    names = {line.partition("=")[0] for line in machine.read(f"/proc/{number}/environ").split("\0") if line}
    assert all(name.startswith("LINKERD2_PROXY_") for name in names), names
    assert machine.read(f"/proc/{number}/cgroup").strip().endswith(PROXY)


def test_its_time_to_stop_is_the_grace_of_the_configuration(machine: Machine) -> None:
    proxymachine.configure(machine, grace=17)
    started(machine)
    assert machine.show(PROXY, "TimeoutStopUSec") == {"TimeoutStopUSec": "27s"}


def test_a_start_only_enqueues_and_the_boot_waits_for_no_identity(machine: Machine) -> None:
    machine.systemctl("stop", "workload-api")
    door(machine, "proxy start")
    machine.wait_for(PROXY, "activating")
    machine.wait_until(
        lambda: machine.path("/run/fairlead-proxy/gate.json").exists(), "the gate says what it waits for"
    )
    assert json.loads(machine.read("/run/fairlead-proxy/gate.json"))["reason"].startswith("WorkloadApi")
    machine.systemctl("start", "workload-api")
    machine.wait_for(PROXY)


def test_the_last_lines_come_through_the_door(machine: Machine) -> None:
    number = started(machine)
    lines = door(machine, "proxy logs")["lines"]
    assert isinstance(lines, list) and any(f"[{number}]: " in line for line in lines)


def test_its_environment_is_told_and_compared_with_the_running_one(machine: Machine) -> None:
    started(machine)
    told = machine.run("fairlead", "proxy", "env")
    assert f"LINKERD2_PROXY_INBOUND_IPS={ADDRESS}\n" in told and "BEGIN CERTIFICATE" not in told
    assert machine.run("fairlead", "proxy", "env", "--diff") == ""
    proxymachine.configure(machine, grace=17)
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
    proxymachine.configure(machine, outbound=outbound)
    first = started(machine)
    with dialling(client) as got:
        # The next one waits for an identity, so what holds meanwhile can be looked at.
        machine.systemctl("stop", "workload-api")
        machine.kill(first)
        machine.wait_until(lambda: machine.show(PROXY, "SubState")["SubState"] == "start-pre", "it waits")
        assert levels(machine) == ("block", "released" if outbound == "open" else "block")
        machine.systemctl("start", "workload-api")
        machine.wait_for(PROXY)
    assert DIRECT not in got and PROXIED in got
    assert pid(machine) != first
    assert levels(machine) == ("on", "on")


def test_an_open_port_is_plain_while_no_proxy_is_there(machine: Machine, client: netns.Namespace) -> None:
    proxymachine.configure(machine, inbound="open")
    first = started(machine)
    machine.systemctl("stop", "workload-api")
    machine.kill(first)
    machine.wait_until(lambda: machine.show(PROXY, "SubState")["SubState"] == "start-pre", "it waits")
    assert levels(machine)[0] == "released"
    assert dial(client) == DIRECT
    machine.systemctl("start", "workload-api")
    machine.wait_for(PROXY)
    assert dial(client) == PROXIED


def test_a_proxy_that_cannot_start_backs_off_and_its_port_stays_closed(
    machine: Machine, client: netns.Namespace
) -> None:
    started(machine)
    proxymachine.program(machine, "#!/bin/sh\nexit 64\n")
    with dialling(client) as got:
        machine.kill(pid(machine))
        machine.wait_until(lambda: crashes(machine) >= 3, "three crashes are counted", 120)
        assert levels(machine)[0] == "block"
        proxymachine.stand_in(machine)
        machine.wait_for(PROXY, within=120)
    assert DIRECT not in got
    assert "in a row; the next start in" in machine.journal(PROXY)


# with an agent -------------------------------------------------------------------------------------


def agent(machine: Machine) -> int:
    return int(machine.show("fairlead.service", "MainPID")["MainPID"])


def test_an_agent_that_is_nobody_starts_it_and_its_death_touches_nothing(
    machine: Machine, client: netns.Namespace
) -> None:
    machine.systemctl("start", "fairlead.service")
    machine.wait_for(PROXY)
    machine.wait_until(lambda: levels(machine) == ("on", "on"), "the redirect is on")
    before, rules = pid(machine), machine.run("nft", "-s", "list", "table", "inet", "fairlead")
    with dialling(client) as got:
        for _ in range(2):
            killed = agent(machine)
            machine.kill(killed)
            machine.wait_until(lambda: agent(machine) not in (0, killed), "another agent is there")  # noqa: B023
            machine.wait_for("fairlead.service")
        machine.systemctl("restart", "fairlead.service")
    assert got == {PROXIED}
    assert (pid(machine), machine.run("nft", "-s", "list", "table", "inet", "fairlead")) == (before, rules)


def test_both_killed_at_once_come_back_and_nobody_gets_past_the_proxy(
    machine: Machine, client: netns.Namespace
) -> None:
    machine.systemctl("start", "fairlead.service")
    machine.wait_for(PROXY)
    machine.wait_until(lambda: levels(machine) == ("on", "on"), "the redirect is on")
    first = pid(machine)
    with dialling(client) as got:
        machine.run("kill", "-9", str(first), str(agent(machine)))
        machine.wait_until(lambda: pid(machine) not in (0, first), "another proxy is there")
        machine.wait_for(PROXY)
        machine.wait_for("fairlead.service")
        machine.wait_until(lambda: levels(machine) == ("on", "on"), "the redirect is on")
    assert DIRECT not in got and PROXIED in got


def test_a_boot_without_an_identity_ends_and_a_closed_port_is_closed_from_its_start(
    machine: Machine, client: netns.Namespace
) -> None:
    machine.systemctl("start", "fairlead.service")
    machine.wait_for(PROXY)
    machine.wait_until(lambda: levels(machine) == ("on", "on"), "the redirect is on")
    machine.write("/etc/systemd/system/application.service.d/boot.conf", "[Install]\nWantedBy=multi-user.target\n")
    machine.systemctl(
        "enable", "fairlead.service", "fairlead-redirect.service", "fairlead-door.socket", "application"
    )
    with dialling(client) as got:
        machine.reboot()
        machine.wait_for("fairlead.service")
        assert levels(machine)[0] == "block"
        assert dial(client) == RESET
        machine.systemctl("start", "workload-api")
        machine.wait_for(PROXY)
        assert dial(client) == PROXIED
    assert DIRECT not in got, got
    machine.systemctl(
        "disable", "fairlead.service", "fairlead-redirect.service", "fairlead-door.socket", "application"
    )
