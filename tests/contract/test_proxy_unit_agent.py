"""The proxy's unit on a really booted systemd, with an unprivileged agent: killed, replaced, hung, and left."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.cli.kit.follow import serves
from tests.contract.unit_fixtures import clean_machine as clean_machine
from tests.contract.unit_fixtures import client_network as client_network
from tests.lab import installed, netns, unit_machine
from tests.lab.machine import Machine
from tests.lab.proxy_neighbours import ADDRESS, CLIENT_ADDRESS, DIRECT, OUTSIDE, PORT, PROXIED, RESET
from tests.lab.unit_machine import PROXY, VERSION, dial, dialling, levels, pid

pytestmark = pytest.mark.real

AGENT = "fairlead.service"
NEXT, BROKEN, OLD = "2.367.0", "2.368.0", "2.340.0"


def agent(machine: Machine) -> int:
    return int(machine.show(AGENT, "MainPID")["MainPID"])


def until(machine: Machine, true: Callable[[dict[str, Any]], bool], what: str) -> None:
    """By the machine's own command: it believes the agent's user, which is not a user of this host."""

    def holds() -> bool:
        answer = machine.try_run("fairlead", "status", "--json").stdout
        return bool(answer) and true(json.loads(answer))

    machine.wait_until(holds, what)


def proxy_is(state: str, reason: str = "") -> Callable[[dict[str, Any]], bool]:
    def true(status: dict[str, Any]) -> bool:
        fact = status["facts"]["proxy"]
        return fact != "unknown" and fact["state"] == state and (not reason or reason in str(fact["fault"]))

    return true


def rules(machine: Machine) -> str:
    """ "": none."""
    return machine.try_run("nft", "-s", "list", "table", "inet", "fairlead").stdout


def runs(machine: Machine) -> str:
    """The version of the proxy that runs."""
    words = machine.read(f"/proc/{pid(machine)}/cmdline").split("\0")
    return next(word.split("/")[-2] for word in words if word.endswith("/linkerd2-proxy"))


def is_on(machine: Machine) -> None:
    machine.systemctl("start", AGENT)
    machine.wait_for(PROXY)
    machine.wait_until(lambda: levels(machine) == ("on", "on"), "the redirect is on")


# killed --------------------------------------------------------------------------------------------


def test_an_agent_that_is_nobody_starts_it_and_its_death_touches_nothing(
    machine: Machine, client: netns.Namespace
) -> None:
    is_on(machine)
    assert f"Uid:\t{installed.USERS['fairlead']}\t" in machine.read(f"/proc/{agent(machine)}/status")
    before, there = pid(machine), rules(machine)
    with dialling(client) as got:
        for _ in range(2):
            killed = agent(machine)
            machine.kill(killed)
            # It has been called for the last time before the next one is killed.
            machine.wait_until(lambda: agent(machine) not in (0, killed), "another agent is there")  # noqa: B023
            machine.wait_for(AGENT)
        machine.systemctl("restart", AGENT)
    assert set(got) == {PROXIED}
    assert (pid(machine), rules(machine)) == (before, there)


def test_a_death_changes_the_rules_once_and_the_next_proxy_once_more(machine: Machine) -> None:
    """Failure policy and agent agree: neither treats what the other did as drift."""
    is_on(machine)
    until(machine, lambda status: status["facts"]["redirect"] != "unknown", "the agent has looked at the rules")
    machine.systemctl("stop", "workload-api")
    machine.run("systemd-run", "--unit=monitor", "stdbuf", "-oL", "nft", "monitor")
    late = f"/run/systemd/system/{PROXY}.d/late.conf"
    machine.write(late, "[Service]\nExecStopPost=sleep 3\n")  # the unit is busy with its end for longer
    machine.systemctl("daemon-reload")
    machine.kill(pid(machine))
    until(machine, lambda status: status["facts"]["redirect"]["inbound"] == "block", "the agent sees it closed")
    machine.systemctl("start", "workload-api")
    machine.wait_for(PROXY)
    until(machine, proxy_is("ready"), "the agent sees it ready")
    machine.wait_until(lambda: levels(machine) == ("on", "on"), "the redirect is on")
    machine.systemctl("stop", "monitor")
    machine.path(late).unlink()
    machine.systemctl("daemon-reload")
    said = machine.journal("monitor.service")
    assert said.count("delete table inet fairlead") == 2, said


def test_both_killed_at_once_come_back_and_nobody_gets_past_the_proxy(
    machine: Machine, client: netns.Namespace
) -> None:
    is_on(machine)
    first = pid(machine)
    with dialling(client) as got:
        machine.run("kill", "-9", str(first), str(agent(machine)))
        machine.wait_until(lambda: pid(machine) not in (0, first), "another proxy is there")
        machine.wait_for(PROXY)
        machine.wait_for(AGENT)
        machine.wait_until(lambda: levels(machine) == ("on", "on"), "the redirect is on")
    assert DIRECT not in got and PROXIED in got


# replaced ------------------------------------------------------------------------------------------


def test_upgrade_and_rollback_and_an_upgrade_that_goes_back_by_itself(
    machine: Machine, client: netns.Namespace
) -> None:
    unit_machine.configure(machine, drain=5)
    machine.systemctl("start", "cluster")
    unit_machine.stand_in(machine, NEXT)
    unit_machine.program(machine, "#!/bin/sh\nexit 64\n", BROKEN)
    machine.systemctl("start", AGENT)
    until(machine, serves, "it serves")
    with dialling(client) as got:
        machine.run("fairlead", "proxy", "upgrade", NEXT, within=180)
        assert runs(machine) == NEXT
        machine.run("fairlead", "proxy", "rollback", within=180)
        assert runs(machine) == VERSION
        tried = machine.try_run("fairlead", "proxy", "upgrade", BROKEN, within=180)
        assert tried.returncode == 1 and f"{VERSION} serves again" in tried.stderr, tried
        until(machine, serves, "it serves")
        assert (runs(machine), levels(machine)) == (VERSION, ("on", "on"))
        refused = machine.try_run("fairlead", "proxy", "rollback")
        assert refused.returncode == 1 and f"{BROKEN} did not become ready" in refused.stderr, refused
    assert DIRECT not in got and PROXIED in got


# alive and not working -------------------------------------------------------------------------------


@pytest.fixture
def impatient(machine: Machine) -> Iterator[Machine]:
    """Its agent waits for seconds instead of half a minute."""
    drop_in = f"/run/systemd/system/{AGENT}.d/impatient.conf"
    program = f"{installed.PYTHON} -IS -m tests.lab.proxy_neighbours agent"
    machine.write(drop_in, f"[Service]\nExecStart=\nExecStart={program}\n")
    machine.systemctl("daemon-reload")
    yield machine
    machine.path(drop_in).unlink()
    machine.systemctl("daemon-reload")


def test_a_zombie_is_replaced(impatient: Machine, client: netns.Namespace) -> None:
    """Its identity has panicked: it says "ready", and the date of its certificate was read as 0 all the while."""
    machine = impatient
    unit_machine.stand_in(machine, STANDIN_PANIC="1")
    machine.systemctl("start", AGENT)
    until(machine, proxy_is("not-ready", "ProxyUncertified"), "it is a zombie")
    zombie = pid(machine)
    assert (levels(machine)[0], dial(client)) == ("block", RESET)
    unit_machine.stand_in(machine)
    until(machine, proxy_is("ready"), "another one is ready")
    assert pid(machine) != zombie


def test_one_whose_worker_died_is_replaced(impatient: Machine) -> None:
    machine = impatient
    unit_machine.stand_in(machine, OLD, STANDIN_DEAD_WORKER="1")
    unit_machine.use(machine, OLD)
    machine.systemctl("start", AGENT)
    machine.wait_until(lambda: "worker closed unexpectedly" in machine.journal(PROXY), "it says so")
    first = pid(machine)
    unit_machine.stand_in(machine, OLD)
    machine.wait_until(lambda: pid(machine) not in (0, first), "another one runs")
    until(machine, proxy_is("ready"), "it is ready")
    assert "ProxyWorkerDead" in machine.journal(AGENT)


def test_one_that_cannot_be_read_is_left_alone_and_so_is_the_redirect(impatient: Machine) -> None:
    machine = impatient
    is_on(machine)
    first, there = pid(machine), rules(machine)
    machine.kill(first, signal.SIGSTOP)
    until(machine, proxy_is("unreadable"), "it cannot be read")
    assert rules(machine) == there
    machine.kill(first, signal.SIGCONT)
    until(machine, proxy_is("ready"), "it is ready")
    assert (pid(machine), rules(machine)) == (first, there)


def test_one_that_leaks_is_killed_for_want_of_memory_and_that_is_its_condition(machine: Machine) -> None:
    unit_machine.stand_in(machine, STANDIN_LEAK="64")
    with unit_machine.little_memory(machine) as enter:
        machine.systemctl("start", AGENT)
        machine.wait_for(PROXY)
        enter(pid(machine))
        machine.systemctl("stop", "workload-api")  # nor does another one start, which would hide it
        until(machine, lambda status: "ProxyOutOfMemory" in str(status["conditions"]), "its condition")
        until(machine, proxy_is("stopped", "WorkloadApi"), "the gate says what the next one waits for")


def test_one_that_does_not_listen_to_sigterm_is_killed(machine: Machine) -> None:
    """As before its first certificate; long before its grace is over."""
    unit_machine.configure(machine, grace=600, drain=1)
    unit_machine.stand_in(machine, STANDIN_HANG="1")
    machine.systemctl("start", AGENT)
    machine.wait_until(lambda: pid(machine) != 0, "it runs")
    until(machine, proxy_is("starting"), "it is seen")
    machine.run("fairlead", "leave", within=180)
    killed = {"ActiveState": "failed", "Result": "signal"}  # once the failure policy, which comes after it, holds
    machine.wait_until(lambda: machine.show(PROXY, "ActiveState", "Result") == killed, "it was killed")


def test_leave_waits_for_no_request_that_a_control_plane_which_is_away_holds(machine: Machine) -> None:
    """The proxy itself would wait for its whole grace."""
    unit_machine.configure(machine, grace=600, drain=1)
    unit_machine.stand_in(machine, STANDIN_NO_DESTINATION="1")
    is_on(machine)
    address, port = OUTSIDE
    machine.run(
        "systemd-run", "--unit=caller", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}; exec sleep 9999"
    )
    number = pid(machine)
    accepted = re.compile(rf":102C \S+ 01 .* {unit_machine.UID} ")  # port 4140, established
    machine.wait_until(lambda: bool(accepted.search(machine.read(f"/proc/{number}/net/tcp"))), "it is accepted")
    machine.run("fairlead", "leave", within=180)
    machine.systemctl("stop", "caller")
    assert pid(machine) == 0 and rules(machine) == ""


# from boot to the end of leave ---------------------------------------------------------------------

UNITS = (AGENT, "fairlead-redirect.service", "fairlead-helper.socket", "application")


@pytest.fixture
def enabled(machine: Machine) -> Iterator[Machine]:
    machine.write("/etc/systemd/system/application.service.d/boot.conf", "[Install]\nWantedBy=multi-user.target\n")
    machine.systemctl("enable", *UNITS)
    yield machine
    machine.systemctl("disable", *UNITS)


def test_from_boot_to_the_end_of_leave_nobody_gets_past_the_proxy(
    enabled: Machine, client: netns.Namespace
) -> None:
    machine = enabled
    machine.systemctl("start", "cluster")
    is_on(machine)
    with dialling(client) as got:
        machine.reboot()  # without an identity, for which no boot waits
        machine.wait_for(AGENT)
        assert (levels(machine)[0], dial(client)) == ("block", RESET)
        machine.systemctl("start", "workload-api", "cluster")
        until(machine, serves, "it serves")
        assert dial(client) == PROXIED
        unit_machine.configure(machine, drain=60)
        machine.run("fairlead", "reload")
        with in_flight(client):
            machine.run("fairlead", "leave", "--no-wait")
            until(machine, lambda status: status["goals"]["proxy"] == "drained", "it waits for the last one")
            assert dial(client) == PROXIED
            last = time.monotonic()
        machine.run("fairlead", "leave", within=180)
        assert dial(client) == DIRECT
    assert got[DIRECT] >= last, "the inbound redirect stays until no request is in flight"
    it_has_left(machine, client)
    machine.reboot()
    machine.wait_for(AGENT)
    it_has_left(machine, client)


def it_has_left(machine: Machine, client: netns.Namespace) -> None:
    assert (rules(machine), pid(machine), dial(client)) == ("", 0, DIRECT)


def in_flight(client: netns.Namespace) -> socket.socket:
    """A connection that is open inside."""
    connection = client.inside(lambda: socket.create_connection((ADDRESS, PORT), timeout=5))
    connection.sendall(b"\x00hello\n")
    told = connection.recv(100)
    assert told and told != f"application {CLIENT_ADDRESS}\n".encode()
    return connection
