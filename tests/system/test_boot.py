"""Boots on which something is wrong, and what an administrator has beside fairlead, on one Debian 12: the boot
ends, the port follows its policy, the host reports the cause, and recovers without an operator afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from agent import __version__
from agent.sandbox.identity.workload_api import Entry
from agent.sandbox.stage.scene import IDENTITY
from tests.lab.machine import Machine
from tests.system import built_packages
from tests.system import mesh as beside_it
from tests.system.host import CONFIG, install, put
from tests.system.mesh import (
    AGENT,
    CLUSTER,
    HOST,
    OLDER,
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
REDIRECT = "fairlead-redirect.service"

# What a program sees as the time is kept in a file: the clock of this machine is not changed.
CLOCK = "/etc/clock"
SHIFTED = f"""\
[Service]
Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 FAKETIME_TIMESTAMP_FILE={CLOCK}
Environment=FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
"""
# /var on a small disk of its own, before anything of the boot looks at it.
DISK = """\
[Unit]
DefaultDependencies=no
Before=local-fs-pre.target systemd-journal-flush.service
[Service]
Type=oneshot
ExecStart=mkdir /run/var
ExecStart=mount --bind --make-private /var /run/var
ExecStart=mount -t tmpfs -o size=64m tmpfs /var
ExecStart=cp -a /run/var/. /var
ExecStart=umount /run/var
ExecStart={what}
[Install]
RequiredBy=local-fs.target
"""
READ_ONLY, FULL = "mount -o remount,ro /var", "-dd if=/dev/zero of=/var/filler bs=64k"
# The boot has not ended before the proxy's gate was heard.
SLOW = """\
[Service]
Type=oneshot
TimeoutStartSec=60
ExecStart=sh -c 'until [ -e /run/fairlead-proxy/gate.json ]; do sleep 0.1; done'
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture
def member() -> Iterator[tuple[Machine, Mesh]]:
    with beside_it.beside("bookworm-furnished") as (machine, mesh):
        yield machine, mesh


def test_boots(member: tuple[Machine, Mesh]) -> None:
    machine, mesh = member
    install(machine, OLDER)
    beside_it.admit(machine, mesh)
    machine.systemctl("start", AGENT)
    until_ready(machine, mesh)
    machine.wait_until(machine.path("/var/lib/fairlead/ready-once").exists, "root's record of it", WITHIN)

    neither_an_identity_nor_the_time(machine, mesh)
    policy(machine, "open")
    a_disk_that_is_read_only_and_no_identity_for_the_proxy(machine, mesh)
    a_disk_that_is_full(machine, mesh)
    policy(machine, "closed")
    no_folder_for_its_sockets(machine, mesh)
    firewalls_come_and_go_and_no_agent_lives(machine, mesh)
    an_unattended_upgrade(machine, mesh)


def neither_an_identity_nor_the_time(machine: Machine, mesh: Mesh) -> None:
    """By its clock no SVID is valid yet, and then all have expired; of the API server's certificate likewise."""
    drop_ins = [f"/etc/systemd/system/{unit}.service.d/clock.conf" for unit in ("fairlead", "fairlead-proxy")]
    for path in drop_ins:
        machine.write(path, SHIFTED)
    machine.write(CLOCK, "-15y\n")
    mesh.do(mesh.spire.stop())
    booted(machine)
    until_named(machine, "WorkloadApiAbsent")
    shut(machine, mesh)
    mesh.do(mesh.spire.start())
    until_named(machine, "ClockSkewed", "is valid only from")
    shut(machine, mesh)
    machine.write(CLOCK, "+15y\n")
    until_named(machine, "ClockSkewed", "was valid until")
    shut(machine, mesh)
    assert set(problems(machine)) == {"ClockSkewed"}, "and no symptom of it"
    machine.write(CLOCK, "+0\n")
    well(machine, mesh)
    for path in drop_ins:
        machine.path(path).unlink()


def a_disk_that_is_read_only_and_no_identity_for_the_proxy(machine: Machine, mesh: Mesh) -> None:
    """The agent has one, so it asks for the proxy, and the boot does not wait for what that waits for."""
    user = int(machine.run("id", "-u", "fairlead-proxy"))
    mesh.entitle(user)
    enabled(machine, "disk.service", DISK.format(what=READ_ONLY))
    enabled(machine, "slow.service", SLOW)
    booted(machine)
    until_named(machine, "ProxyIdentityMissing", "WorkloadApiDenied")
    until_named(machine, "StateUnwritable", "read-only")
    assert (pid(machine, PROXY), mesh.asked()) == (0, CLUSTER), "an open port is open"
    assert "Read-only file system" in machine.try_run("fairlead", "drain").stderr
    nothing_restarts(machine)
    mesh.entitle(user, Entry(IDENTITY))
    well(machine, mesh)
    assert set(problems(machine)) == {"StateUnwritable"}
    machine.run("mount", "-o", "remount,rw", "/var")
    machine.systemctl("restart", AGENT)  # its own mount of it stays as it was at its start
    machine.wait_until(lambda: not problems(machine), "no problem", WITHIN)
    machine.systemctl("disable", "slow.service")


def a_disk_that_is_full(machine: Machine, mesh: Mesh) -> None:
    machine.write("/etc/systemd/system/disk.service", DISK.format(what=FULL))
    booted(machine)
    well(machine, mesh)
    assert machine.try_run("sh", "-c", "echo full > /var/lib/fairlead/new").returncode != 0
    until_named(machine, "StateUnwritable", "no space")
    machine.path("/var/filler").unlink()
    machine.wait_until(lambda: not problems(machine), "no problem", WITHIN)


def no_folder_for_its_sockets(machine: Machine, mesh: Mesh) -> None:
    """Removed under a running agent, and before one starts. A dead agent's clients see that at once, and systemd
    itself removes the folder of the status socket."""

    def taken_away() -> None:
        machine.run("rm", "-r", "/run/fairlead")

    def taken_away_before() -> None:
        machine.systemctl("stop", AGENT)
        machine.run("rm", "-r", "/run/fairlead-push", "/run/fairlead-proxy")
        machine.systemctl("start", AGENT)

    proxy, writes = pid(machine, PROXY), mesh.status_writes()
    for happens in (taken_away, taken_away_before):
        agent = pid(machine, AGENT)
        happens()
        until_a_new_agent(machine, agent)
        assert machine.try_run("fairlead", "status").returncode == 0, happens.__name__
        assert (pid(machine, PROXY), mesh.ready(), mesh.status_writes()) == (proxy, READY, writes)
    said_once(machine, "SocketsGone")


def firewalls_come_and_go_and_no_agent_lives(machine: Machine, mesh: Mesh) -> None:
    """nftables.service empties every table when it stops, also because firewalld starts. What comes in between is
    the time of the repair, which units make."""
    there = rules(machine)
    conf = machine.read("/etc/firewalld/firewalld.conf")
    machine.write("/etc/firewalld/firewalld.conf", conf.replace("RFC3964_IPv4=yes", "RFC3964_IPv4=no"))
    machine.systemctl("start", "nftables.service")
    machine.systemctl("stop", AGENT)
    for verb, unit in (("restart", "nftables"), ("start", "firewalld"), ("restart", "firewalld")):
        before = machine.show(REDIRECT, "InvocationID")
        machine.systemctl(verb, f"{unit}.service")
        machine.wait_until(lambda old=before: loaded(machine) not in ({}, old), f"{verb} {unit}", WITHIN)  # type: ignore[misc]
        assert (rules(machine), mesh.asked()) == (there, HOST), (verb, unit)
    assert "running" in machine.run("firewall-cmd", "--state")
    machine.systemctl("start", AGENT)
    well(machine, mesh)
    machine.systemctl("stop", "firewalld.service")


def an_unattended_upgrade(machine: Machine, mesh: Mesh) -> None:
    """And needrestart after it, which finds that everything that runs has an old libc: what is fairlead's goes on
    but for the agent."""
    as_in_a_repository(machine)
    machine.write("/etc/needrestart/conf.d/automatically.conf", "$nrconf{restart} = 'a';\n")
    libc = "/usr/lib/x86_64-linux-gnu/libc.so.6"
    machine.run("sh", "-euc", f"cp {libc} {libc}.new; mv {libc}.new {libc}")
    proxy, agent, there = pid(machine, PROXY), pid(machine, AGENT), rules(machine)
    drain = machine.show("fairlead-drain.service", "InvocationID")
    machine.run("apt-get", "--quiet", "update", within=120)
    did = machine.run("unattended-upgrade", "--verbose", within=300)
    assert machine.run("fairlead", "--version") == f"fairlead {__version__}\n", did
    _, _, deferred = did.partition("Service restarts being deferred:")
    assert f"systemctl restart {PROXY}" in deferred, did
    until_a_new_agent(machine, agent)
    assert (pid(machine, PROXY), rules(machine)) == (proxy, there)
    machine.wait_until(lambda: mesh.asked() == HOST, "the application, which is restarted too, answers", WITHIN)
    until_ready(machine, mesh)
    assert machine.show("fairlead-drain.service", "InvocationID") == drain


# what is common to them ----------------------------------------------------------------------------


def booted(machine: Machine) -> None:
    """Its power comes back, and every job of the boot is done."""
    machine.reboot()
    assert machine.systemctl("is-system-running") == "running\n"


def shut(machine: Machine, mesh: Mesh) -> None:
    """No connection bypasses a missing proxy, and no start is retried in a loop."""
    assert (pid(machine, PROXY), mesh.asked(), mesh.ready()[0]) == (0, "", "False")
    assert machine.try_run("fairlead", "redirect", "show").stdout.startswith("inbound block, outbound released\n")
    nothing_restarts(machine)


def nothing_restarts(machine: Machine) -> None:
    for unit in (AGENT, PROXY):
        assert machine.show(unit, "NRestarts") == {"NRestarts": "0"}, unit


def well(machine: Machine, mesh: Mesh) -> None:
    until_ready(machine, mesh)
    assert mesh.asked() == HOST
    nothing_restarts(machine)


def problems(machine: Machine) -> dict[str, str]:
    """What the host reports: each reason, and the detail."""
    told = machine.try_run("fairlead", "status", "--json").stdout
    return {each["reason"]: each["detail"] for each in json.loads(told)["problems"]} if told else {"": "no answer"}


def until_named(machine: Machine, reason: str, detail: str = "") -> None:
    """In the status, and in the journal once."""
    machine.wait_until(lambda: detail in problems(machine).get(reason, "\0"), f"{reason}: {detail}", WITHIN)
    said_once(machine, reason)


def said_once(machine: Machine, reason: str) -> None:
    """Since the boot. The journal hears of it a moment after the status."""
    asked = ("journalctl", "--boot", "--priority=warning", "--output=cat", f"FAIRLEAD_REASON={reason}")
    machine.wait_until(lambda: machine.run(*asked) != "", f"a line about {reason}", WITHIN)
    assert len(machine.run(*asked).splitlines()) == 1, reason


def loaded(machine: Machine) -> dict[str, str]:
    """Which start of the redirect's unit it was that is done; {}: none is."""
    found = machine.show(REDIRECT, "ActiveState", "InvocationID")
    return {"InvocationID": found["InvocationID"]} if found["ActiveState"] == "active" else {}


def enabled(machine: Machine, unit: str, text: str) -> None:
    machine.write(f"/etc/systemd/system/{unit}", text)
    machine.systemctl("enable", unit)


def policy(machine: Machine, word: str) -> None:
    """What holds for the port while no proxy is there, from now on."""
    text = machine.read(CONFIG)
    line = next((line for line in text.splitlines() if line.startswith("inbound_failure")), "[redirect]")
    wanted = f'inbound_failure = "{word}"'
    machine.write(CONFIG, text.replace(line, wanted if line != "[redirect]" else f"{line}\n{wanted}"))
    machine.run("fairlead", "redirect", "apply")


def as_in_a_repository(machine: Machine) -> None:
    """The package of this tree, where apt finds it; an administrator has said that what is there may come by
    itself."""
    package = built_packages.deb()
    content = package.read_bytes()
    control = subprocess.run(
        ["dpkg-deb", "--field", package], capture_output=True, text=True, check=True, env={**os.environ}
    ).stdout
    place = put(machine, package)
    sums = f"Filename: .{place}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    machine.write("/Packages", control + sums)
    machine.write("/Release", "Origin: ours\nSuite: stable\n")
    machine.write("/etc/apt/sources.list", "deb [trusted=yes] file:/ ./\n")
    ours = 'Unattended-Upgrade::Origins-Pattern { "origin=ours"; };\nAPT::Sandbox::User "root";\n'
    machine.write("/etc/apt/apt.conf.d/60ours", ours)
