"""The attacker is an application's user, in one of the groups that fairlead has for others.

What must hold: a group opens one thing. `fairlead` reads the status; `fairlead-push` pushes heartbeats.
"""

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.adapters.status_socket import PushSocket
from agent.host import Host
from tests.attacks import status
from tests.lab.machine import Machine
from tests.lab.reachable import reachable
from tests.lab.socket_client import answered
from tests.lab.unit_machine import configure

USER, READERS, PUSHERS = 2109, 2101, 2104
STATUS, PUSH = ("GET", "/v1/status"), ("POST", "/v1/probes/beat")


@pytest.fixture
async def host(root: None, tmp_path: Path) -> AsyncIterator[Host]:
    """Its folders as systemd makes them, with these groups in place of the named ones."""
    reachable(tmp_path)
    host = Host(tmp_path)
    host.agent_run.mkdir(parents=True)
    host.push_socket.parent.mkdir()
    os.chown(host.push_socket.parent, 0, PUSHERS)
    host.push_socket.parent.chmod(0o2750)
    async with (
        status.empty(host.socket).serving(),
        PushSocket(host.push_socket, {"beat": 60.0}, lambda *_: None).serving(),
    ):
        os.chown(host.socket, 0, READERS)
        yield host


async def asked(group: int, path: Path, request: tuple[str, str]) -> str:
    method, target = request
    return await answered(path, method, target, "{}", user=USER, group=group)


async def test_attack_push_by_who_may_read_the_status(host: Host) -> None:
    assert await asked(READERS, host.socket, STATUS) == "200"
    assert await asked(READERS, host.socket, PUSH) == "404"
    assert await asked(READERS, host.push_socket, PUSH) == "closed"


async def test_attack_read_by_who_may_push(host: Host) -> None:
    assert await asked(PUSHERS, host.push_socket, PUSH) == "200"
    assert await asked(PUSHERS, host.push_socket, STATUS) == "404"
    assert await asked(PUSHERS, host.socket, STATUS) == "closed"


async def test_attack_by_any_other_user(host: Host) -> None:
    for path, request in ((host.socket, STATUS), (host.push_socket, PUSH)):
        assert await asked(USER, path, request) == "closed"


def test_attack_on_the_folder_of_the_push_socket(fresh_machine: Callable[[], Machine]) -> None:
    """As units and tmpfiles make it. A removed folder comes back with the next agent, and for the same group."""
    machine = fresh_machine()
    configure(machine)
    with machine.powered():
        machine.systemctl("start", "fairlead.service")
        path = "/run/fairlead-push/push.sock"
        for _ in range(2):
            machine.wait_until(machine.path(path).is_socket, "an agent listens")
            shown = machine.run(
                "stat", "--format=%U:%G %a", "/run/fairlead-push", path, "/run/fairlead/fairlead.sock"
            )
            expected = ["fairlead:fairlead-push 2750", "fairlead:fairlead-push 660", "fairlead:fairlead 660"]
            assert shown.splitlines() == expected
            machine.run("rm", "-r", "/run/fairlead-push")


def test_attack_on_the_credential_of_the_units(fresh_machine: Callable[[], Machine]) -> None:
    """Root's file reaches the agent, by systemd, and no other user and no group."""
    machine = fresh_machine()
    configure(machine)
    kept, file = "/etc/credstore/fairlead.api", "/etc/fairlead/fairlead.toml"
    loaded = "/run/credentials/fairlead.service/fairlead.api"
    machine.write(kept, "a-token\n", 0o600)
    machine.path("/etc/credstore").chmod(0o700)
    text = machine.read(file)
    named = text.replace('"/etc/fairlead/token"', '"$CREDENTIALS_DIRECTORY/fairlead.api"')
    assert named != text
    machine.write(file, named)
    with machine.powered():
        machine.systemctl("start", "fairlead.service")
        assert machine.run("cat", loaded, user="fairlead") == "a-token\n"
        shown = json.loads(machine.try_run("fairlead", "status", "--json").stdout)
        assert (shown["credential"]["kind"], shown["credential"]["file"]) == ("token-file", loaded)
        group = ["setpriv", "--reuid=app", "--regid=fairlead", "--clear-groups", "--", "cat"]
        for path in (kept, loaded):
            assert "Permission denied" in machine.try_run(*group, path).stderr


_ALONE = "find /run /var /etc /usr -xdev -group fairlead -perm /g=r ! -perm /o=r ! -type d"


def test_attack_read_more_than_the_status_by_its_group(fresh_machine: Callable[[], Machine]) -> None:
    """On a host that runs, the group opens the status socket and can read nothing else. Any other user is told the
    way in, and sees what every user may see."""
    machine = fresh_machine()
    configure(machine)
    with machine.powered():
        machine.systemctl("start", "fairlead.service")
        machine.wait_until(machine.path("/run/fairlead/fairlead.sock").is_socket, "an agent listens")
        assert machine.run(*_ALONE.split()).splitlines() == ["/run/fairlead/fairlead.sock"]
        member = [
            "setpriv",
            "--reuid=app",
            "--regid=app",
            "--groups=fairlead",
            "--",
            "fairlead",
            "status",
            "--json",
        ]
        assert json.loads(machine.try_run(*member).stdout)["agent"]
        other = machine.try_run("fairlead", "status", user="app")
        assert other.returncode == 77 and "usermod -aG fairlead app" in other.stderr
        assert "fairlead.service          active (running)" in other.stdout and "needs root" in other.stdout
        machine.systemctl("stop", "fairlead.service")
        alone = machine.try_run("fairlead", "status")
        assert alone.returncode == 69 and "no agent is running" in alone.stderr
        assert "fairlead.service          inactive (dead)" in alone.stdout and "[journalctl" in alone.stdout
