"""What the .rpm does to a host: rpm's own database and scriptlets, in a booted Debian. No distribution made of rpm
is to be had from Debian's packages; what such a one requires is therefore read, and not resolved."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agent import __version__
from tests.lab.machine import Machine
from tests.system import built_packages, interrupted_upgrade
from tests.system import host as on_host
from tests.system.host import CONFIG, configured, invocations, put, state

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
OLDER = "0.0.9"
PLACE = "/opt/rpm"


@pytest.fixture
def host() -> Iterator[Machine]:
    with on_host.booted(on_host.SUITES[0], binds=((Path("/usr/lib/rpm"), "/usr/lib/rpm"),)) as made:
        bring_rpm(made)
        yield made


def bring_rpm(machine: Machine) -> None:
    """The program of this machine, with the libraries that are not there."""
    program = shutil.which("rpm") or ""
    place = machine.path(PLACE)
    place.mkdir()
    shutil.copy(program, place)
    linked = subprocess.run(
        ["ldd", program], capture_output=True, text=True, check=True, env={**os.environ}
    ).stdout
    for path in (Path(word) for word in linked.split() if word.startswith("/")):
        if not any(
            machine.path(folder).joinpath(path.name).exists() for folder in ("/lib/x86_64-linux-gnu", "/lib64")
        ):
            shutil.copy(path, place)


RPM = ("env", f"LD_LIBRARY_PATH={PLACE}", f"{PLACE}/rpm", "--nodeps", "--nosignature")


def rpm(machine: Machine, *words: str) -> str:
    done = machine.try_run(*RPM, *words, within=180)
    assert done.returncode == 0 and "scriptlet failed" not in done.stderr, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_life(host: Machine) -> None:
    before = state(host)
    rpm(host, "--install", put(host, built_packages.rpm(OLDER)))
    assert host.run("fairlead", "--version") == f"fairlead {OLDER}\n"
    assert host.systemctl("list-units", "--plain", "--no-legend", "--state=active", "fairlead*") == ""

    text, units = configured(host), invocations(host)
    upgrade, home = ("--upgrade", put(host, built_packages.rpm())), host.path("/usr/lib/fairlead")
    for happens in interrupted_upgrade.MOMENTS.values():
        interrupted_upgrade.killed_when(partial(happens, home), host.command(*RPM, *upgrade))
        assert host.run("fairlead", "--version") == f"fairlead {interrupted_upgrade.version(home)}\n"
        # NAME;SECOND, of the second in which it began: rpm never clears its own away, and stumbles over them where
        # it is started again in the same one.
        host.run("find", "/usr", "/etc", "-name", "*;*", "-delete")
    rpm(host, *upgrade)
    assert interrupted_upgrade.version(home) == __version__ and len(list(home.iterdir())) == 2
    assert host.run("fairlead", "--version") == f"fairlead {__version__}\n"
    assert invocations(host) == units
    assert host.read(CONFIG) == text

    rpm(host, "--erase", "fairlead")
    after = state(host)
    assert replace(after, files=before.files, users=before.users) == before
    assert host.read(CONFIG) == text, "rpm knows no purge"
    assert "fairlead:x:" in host.read("/etc/passwd")
    left = {line.split()[0] for line in after.files - before.files if line.startswith("/")}
    own = ("/etc/fairlead", "/var/lib/fairlead", "/var/lib/rpm")
    assert {path for path in left if not path.startswith(own)} <= PARENTS


# Folders above the package's own files, which a distribution made of rpm has from its package `filesystem`.
PARENTS = {
    *("/etc/needrestart", "/etc/needrestart/conf.d", "/etc/ufw", "/etc/ufw/applications.d", "/etc/systemd/system"),
    *(
        "/usr/lib/firewalld",
        "/usr/lib/firewalld/services",
        "/usr/share/fish",
        "/usr/share/fish/vendor_completions.d",
    ),
    *("/usr/share/zsh", "/usr/share/zsh/site-functions", "/usr/share/man/man1", "/usr/share/man/man5"),
    *("/usr/share/man/man8", "/usr/lib/rpm", "/etc/systemd/system/sockets.target.wants"),
    *("/usr/lib/systemd/system/firewalld.service.d", "/usr/lib/systemd/system/nftables.service.d"),
}
