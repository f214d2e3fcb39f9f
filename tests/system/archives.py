"""`fairlead support` on a booted machine, with the agent alive and dead, and with secrets in its files."""

from __future__ import annotations

import io
import tarfile

from agent.offline.support import bundle
from tests.lab.machine import Machine
from tests.system.host import CONFIG

AGENT = "fairlead.service"
PLANTED = ("planted-token", "planted-bearer", "planted-word", "planted-header")
_SAYS = """\
[Service]
ExecStartPre=/bin/echo a line of the journal, Authorization: Bearer planted-bearer
TimeoutStopSec=5
"""
_PROBES = """
[[probe]]
name = "planted"
kind = "exec"
command = ["/bin/true", "planted-word"]

[[probe]]
name = "asked"
kind = "http"
port = 5432
headers = { X-Anything = "planted-header" }
"""


def archives_without_secrets(machine: Machine) -> None:
    machine.write("/etc/fairlead/token", "planted-token\n", mode=0o600, owner="fairlead")
    machine.write(CONFIG, machine.read(CONFIG) + _PROBES)
    machine.run("mkdir", "-p", f"/run/systemd/system/{AGENT}.d")
    machine.write(f"/run/systemd/system/{AGENT}.d/says.conf", _SAYS)
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", AGENT)
    alive = _taken(machine, "alive.tar.gz")
    assert '"version"' in alive["status-json.txt"] and "fairlead.service" in alive["units.txt"]
    machine.systemctl("stop", AGENT)
    dead = _taken(machine, "dead.tar.gz")
    assert "no agent" in dead["status.txt"]
    for found in (alive, dead):
        assert "a line of the journal" in found["journal-agent.txt"]
        assert {
            "fairlead.toml",
            "rules-nft.txt",
            "routes.txt",
            "sockets-listening.txt",
            "doctor.txt",
        } <= found.keys()
        assert [f"{word} in {name}" for name, text in found.items() for word in PLANTED if word in text] == []


def _taken(machine: Machine, name: str) -> dict[str, str]:
    """What is in the archive, and what the command printed."""
    archive = f"/root/{name}"
    printed = machine.run("fairlead", "support", "--yes", "-o", archive, within=120)
    mode, size = machine.run("stat", "--format=%a %s", archive).split()
    assert mode == "600" and int(size) <= bundle.MOST
    with tarfile.open(fileobj=io.BytesIO(machine.path(archive).read_bytes())) as tar:
        files = {one.name.partition("/")[2]: tar.extractfile(one) for one in tar}
        found = {path: file.read().decode(errors="replace") for path, file in files.items() if file is not None}
    return {**found, "printed": printed}
