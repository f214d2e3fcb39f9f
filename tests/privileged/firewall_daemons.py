"""firewalld and ufw as Debian ships them, in a host's network namespace alone: their files are copies, and what
they would share with this machine (its D-Bus, /run) is their own."""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.realparts import where
from tests.privileged.hosts import Host

CONFIG = Path(__file__).parents[2] / "config"
_PYTHON = "/usr/bin/python3"  # that of the packages

# What lies in /run also leads to this machine's systemd, which the bus would ask about users.
_OWN_RUN = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run; exec "$@"', "sh")

_BUS = """
<busconfig>
  <type>system</type>
  <listen>unix:path={}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""


@functools.cache
def _root() -> Path:
    return where("firewalls")


def _program(name: str) -> str:
    """Unpacked where this machine lacks it."""
    found = shutil.which(name, path=os.pathsep.join(map(str, (_root() / "usr/sbin", _root() / "usr/bin"))))
    return found or shutil.which(name) or name


def _environment(**more: str) -> dict[str, str]:
    libraries = [str(path) for path in _root().glob("usr/lib/*-linux-gnu*")]
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "PYTHONPATH": f"{_root()}/usr/lib/python3/dist-packages",
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "GI_TYPELIB_PATH": os.pathsep.join(f"{path}/girepository-1.0" for path in libraries),
        **more,
    }


def _said(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


class Firewalld:
    def __init__(self, host: Host, folder: Path) -> None:
        self._host, self._folder = host, folder
        self._programs: list[subprocess.Popen[str]] = []
        self._environment = _environment(DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={folder}/bus")

    def command(self, *words: str) -> str:
        """What firewall-cmd says."""
        return _said(self._host.space.command(_PYTHON, _program("firewall-cmd"), *words), self._environment)

    def set(self, key: str, value: str) -> None:
        """In its firewalld.conf, which it reads when it starts and reloads."""
        path = self._folder / "etc/firewalld.conf"
        path.write_text(re.sub(rf"(?m)^{key}=.*$", f"{key}={value}", path.read_text()))

    def start(self) -> None:
        (self._folder / "bus.conf").write_text(_BUS.format(self._folder / "bus"))
        shutil.copytree(_root() / "etc/firewalld", self._folder / "etc")
        shutil.copy(CONFIG / "firewalld/fairlead.xml", self._folder / "etc/services")
        bus = self._run(
            _program("dbus-daemon"), f"--config-file={self._folder}/bus.conf", "--nofork", "--print-address"
        )
        assert bus.stdout and bus.stdout.readline()
        files = f"--system-config={self._folder}/etc", f"--default-config={_root()}/usr/lib/firewalld"
        daemon = self._run(_PYTHON, _program("firewalld"), "--nofork", "--nopid", "--log-target=console", *files)
        while not self._is_up():
            assert daemon.poll() is None, daemon.communicate()

    def stop(self) -> None:
        for program in reversed(self._programs):
            program.terminate()
            program.communicate(timeout=60)

    def _run(self, *words: str) -> "subprocess.Popen[str]":
        command, pipe = self._host.space.command(*_OWN_RUN, *words), subprocess.PIPE
        made = subprocess.Popen(command, env=self._environment, text=True, stdout=pipe, stderr=subprocess.STDOUT)
        self._programs.append(made)
        return made

    def _is_up(self) -> bool:
        asked = self._host.space.command(_PYTHON, _program("firewall-cmd"), "--state")
        done = subprocess.run(asked, env=self._environment, capture_output=True, check=False, timeout=60)
        return done.returncode == 0


@contextmanager
def firewalld(host: Host, folder: Path) -> Iterator[Firewalld]:
    folder.mkdir()
    made = Firewalld(host, folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Ufw:
    """`kind`: "nft" or "legacy", of the iptables that it calls."""

    def __init__(self, host: Host, folder: Path, kind: str) -> None:
        self._folder = folder
        rules = _root() / "usr/share/ufw"
        for part in ("etc/ufw", "lib/ufw", "usr/share/ufw"):
            shutil.copytree(_root() / part, folder / part)
        (folder / "etc/default").mkdir()
        shutil.copy(_root() / "etc/default/ufw", folder / "etc/default")
        # What the package's own script does when it is installed.
        for path in (*(rules / "iptables").iterdir(), rules / "ufw.conf"):
            shutil.copy(path, folder / "etc/ufw")
        shutil.copy(CONFIG / "ufw/fairlead", folder / "etc/ufw/applications.d")
        mount = f'mount --bind "$(readlink -f /usr/sbin/iptables-{kind})" "$(readlink -f /usr/sbin/iptables)"'
        self._command = host.space.command("unshare", "--mount", "sh", "-c", f'{mount}; exec "$@"', "sh")

    def command(self, *words: str) -> str:
        """What ufw says."""
        files = f"--rootdir={self._folder}", f"--datadir={self._folder}"
        return _said([*self._command, _PYTHON, _program("ufw"), *files, *words], _environment())
