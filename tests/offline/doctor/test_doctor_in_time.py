"""The doctor ends, and says what did not answer, while one of the systems that it asks hangs; and while all do.

What hangs is a socket that accepts and never answers.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agent.adapters import units
from agent.core.doctor import host_checks
from agent.core.doctor.check import NO_ANSWER, Result
from agent.host import Host
from agent.offline import outside
from agent.privileged.system import programs, sshd
from tests.lab import nameserver
from tests.offline.doctor.conftest import by_token, examined, patient, set_key
from tests.offline.doctor.test_doctor_identity import run

EACH = 1.0  # seconds for a check
NOBODY = 65534


@contextmanager
def deaf(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o777)
        yield


@contextmanager
def deaf_port() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_privileged_helper_that_hangs_is_unknown(root: None, host: Path) -> None:
    """Asked as the agent asks: by its socket. (Root starts one of its own.)"""
    with deaf(Host(host).helper_socket):
        code, output = run("--prefix", str(host), "--timeout", "1", "--json", "helper", "disk", uid=NOBODY)
    found = {one["name"]: one for one in json.loads(output)["checks"]}
    assert found["helper"]["result"] == "unknown" and found["helper"]["why"] == f"{NO_ANSWER} in 1 s"
    assert found["disk"]["result"] == "ok" and code == 0


async def test_a_resolver_that_hangs_is_named(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: Path
) -> None:
    nameserver.used(monkeypatch, tmp_path, f"nameserver {nameserver.ADDRESS}\n")
    async with nameserver.silent():
        found = await examined(host, "control-plane-names", "path-mtu")
    outcome = found["control-plane-names"].outcome
    assert outcome.result is Result.FAIL and f"{nameserver.ADDRESS}: no answer in " in outcome.why
    assert found["path-mtu"].behind == "control-plane-names"


async def test_controllers_that_hang_are_named(root: None, host: Path) -> None:
    async with patient(host):
        with deaf_port() as place:
            set_key(host, "cluster_networks", f'["127.0.0.0/8"]\npolicy = "{place}"\ndestination = "{place}"')
            found = await examined(host, "control-plane", "path-mtu", "trust-anchors", each=EACH)
    assert found["control-plane-names"].outcome.result is Result.OK
    assert found["trust-anchors"].outcome.result is Result.OK
    assert found["path-mtu"].outcome.result in (Result.FAIL, Result.UNKNOWN), found["path-mtu"]


async def test_a_systemd_that_hangs_leaves_the_redirect_readable(
    root: None, monkeypatch: pytest.MonkeyPatch, host: Path
) -> None:
    """Whether ssh.socket listens is then not known; the listeners of this host still are."""
    asked: list[str] = []

    def of_socket_units() -> frozenset[int]:
        asked.append("systemctl")
        program = programs.find("sleep")
        assert program
        with pytest.raises(programs.TookTooLong):
            programs.run(program, "infinity", within=1.0)
        return sshd.of_sockets("")

    monkeypatch.setattr(sshd, "_of_socket_units", of_socket_units)
    async with patient(host):
        found = await examined(host, "guide-rules", "firewall")
    assert asked and found["guide-rules"].outcome.result is Result.OK


async def test_a_system_bus_that_hangs_is_said_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The doctor asks nothing of it; `fairlead status` without an agent does."""
    bus, real = tmp_path / "bus", units.now
    monkeypatch.setattr(units, "now", lambda names: real(names, str(bus)))
    with deaf(bus):
        (found,) = await outside._units()  # noqa: SLF001 - a prefix has no units
    assert (found.what, found.text, found.source) == ("units", "not read: no answer", "systemd")


async def test_it_ends_while_everything_hangs(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: Path
) -> None:
    nameserver.used(monkeypatch, tmp_path, f"nameserver {nameserver.ADDRESS}\n")
    (host / "agent.sock").unlink(missing_ok=True)
    with ExitStack() as hanging:
        hanging.enter_context(deaf(host / "agent.sock"))
        hanging.enter_context(deaf(Host(host).socket))
        place = hanging.enter_context(deaf_port())
        by_token(host)
        set_key(host, "server", f'"https://{place}"')
        set_key(host, "ca", f'"{host / "anchors.pem"}"')
        async with nameserver.silent():
            found = await examined(host, each=EACH)
    assert {*found} == {check.name for check in host_checks.HOST}
    assert {"clock", "agent-identity", "api-server", "agent"} <= {
        name for name, one in found.items() if one.outcome.result is Result.UNKNOWN
    }
