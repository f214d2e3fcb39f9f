"""The attacker is any local user: it gives its processes the names of programs that decide what is redirected, and
opens as many descriptors as it may.

What must hold: only a socket of root that a process of root holds is evidence, and nothing keeps a port open that
must be closed.
"""

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent.privileged.redirect import published
from agent.privileged.system import sshd
from tests.privileged.helper_requests import CHECK, apply
from tests.privileged.hosts import APP, Host, Listeners, dial, listening
from tests.privileged.levels import APPLICATION, FAILED, NOW, ON, RESTORE, closed, done, levels, refused
from tests.privileged.test_policy import NAMES

pytestmark = pytest.mark.usefixtures("root")

ATTACKER = 1000
BLOCK = {"verb": "redirect block", "direction": "inbound"}
CLOSING = [FAILED, RESTORE, BLOCK, apply("block", "released"), apply("block", "on")]
_HOLDS = """
import ctypes, os, resource, socket, sys
name, address, port, count = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (int(count) + 50, int(count) + 50))
os.setgid(1000)
os.setuid(1000)
listener = socket.create_server((address, int(port)))
ctypes.CDLL(None).prctl(4, 0)  # not dumpable: in /proc it belongs to root
ctypes.CDLL(None).prctl(15, os.fsencode(name))
for _ in range(int(count)):
    os.dup(0)
print("holds", flush=True)
sys.stdin.read()
"""
DESCRIPTORS = min(120_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100)


@contextlib.contextmanager
def called(host: Host, name: str, address: str, port: int, descriptors: int = 1) -> Iterator[int]:
    """A process of the attacker's of that name listens there: its pid."""
    command = host.space.command(sys.executable, "-c", _HOLDS, name, address, str(port), str(descriptors))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ}) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"holds\n"
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def member(host: Host) -> Host:
    """Its configuration is approved, its proxy has ended, and its port is open by mistake."""
    with Listeners() as proxy:
        proxy.add_proxy(host.space)
        assert levels(host, NOW) == ON
        done(host, {"verb": "ready record"})
    return host


@pytest.mark.parametrize("request_", CLOSING, ids=lambda request: "-".join(request.values()).replace(" ", "-"))
def test_attack_of_a_process_called_sshd(member: Host, request_: dict[str, str]) -> None:
    with called(member, "sshd", APPLICATION[0], APP):
        assert levels(member, request_)[0] == "block"
        assert closed(member)


def test_attack_of_a_process_called_sshd_on_a_redirect(member: Host, ears: Listeners) -> None:
    with called(member, "sshd", APPLICATION[0], APP):
        ears.add_proxy(member.space)
        assert levels(member, apply("on", "on")) == ON


def test_attack_of_a_process_called_docker_proxy(host: Host) -> None:
    here = [ip_address(APPLICATION[0])]
    with called(host, "docker-proxy", APPLICATION[0], APP):
        assert host.space.inside(lambda: published.ports(here)) == frozenset()
    with listening(host.space, "docker-proxy", APPLICATION[0], APP):
        assert host.space.inside(lambda: published.ports(here)) == {(here[0], APP)}


def test_attack_of_many_descriptors(member: Host, ears: Listeners, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them is looked at."""
    ears.add(member.space, APPLICATION[0], 2222)  # whose process is looked for
    listed: list[str] = []

    def watched(real: Callable[[object], object], path: object) -> object:
        listed.append(str(path))
        return real(path)

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, partial(watched, getattr(os, name)))
    with called(member, "sshd", APPLICATION[0], APP, DESCRIPTORS) as pid:
        assert member.space.inside(lambda: sshd.listening(NAMES)) == frozenset()
        assert f"/proc/{pid}/fd" not in listed and listed
        assert levels(member, FAILED)[0] == "block"
        assert closed(member)


def test_attack_leaves_a_disputed_port_out_and_closes_the_rest(member: Host) -> None:
    """Root's own sshd on a declared port stays open, whatever else must be closed."""
    config = member.prefix / "var/lib/fairlead/approved/etc/fairlead/fairlead.toml"
    for path in (config, member.config):
        path.write_text(path.read_text().replace("ports = [8080]", "ports = [8080, 9000]"))
    for request in CLOSING:
        with listening(member.space, "sshd", APPLICATION[0], APP):
            assert levels(member, request)[0] == "block", request
            assert levels(member, CHECK)[0] == "block", request
            dial(member.peer, *APPLICATION).close()
            with pytest.raises(ConnectionRefusedError):
                dial(member.peer, APPLICATION[0], 9000)
            assert refused(member, NOW)[0] == "RedirectRefused"


def test_attack_of_a_lookup_that_does_not_end(member: Host, tmp_path: Path) -> None:
    """A program that the tests of the rules need hangs: the port is closed without it."""
    slow = tmp_path / "ip"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    mount = 'mount --bind "$0" "$(readlink -f "$(command -v ip)")"; exec "$@"'
    assert levels(member, FAILED, "unshare", "--mount", "sh", "-c", mount, str(slow))[0] == "block"
    assert closed(member)
