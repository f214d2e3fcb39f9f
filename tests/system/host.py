"""A host as an administrator has it: a booted Debian without Python, the package, and what can be compared."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent import __version__
from tests.lab.machine import Machine
from tests.system import built_packages

SUITES = ("bookworm", "trixie", "bullseye")
CONFIG = "/etc/fairlead/fairlead.toml"
STARTED = ("fairlead-helper.socket", "fairlead-drain.service", "fairlead-redirect.service")
# What the system itself writes down about every package and user, and what any boot changes.
_ITS_OWN = (
    *("/var/lib/dpkg/", "/var/log/", "/var/cache/", "/var/lib/systemd/", "/root/", "/tmp/", "/var/tmp/"),
    *(
        "/etc/passwd-",
        "/etc/group-",
        "/etc/shadow-",
        "/etc/gshadow-",
        "/etc/.pwd.lock",
        "/run/systemd/",
        "/run/log/",
    ),
    *(
        "/run/user/",
        "/run/dbus/",
        "/run/host/",
        "/run/credentials/",
        "/run/lock/",
        "/etc/ld.so.cache",
        "/run/udev/",
    ),
    *("/etc/.updated", "/var/.updated"),
)
_FILES = "find / /run -xdev -printf '%p %M %u:%g %l\\n'; find /etc -type f -exec sha256sum {} +"


@dataclass(frozen=True)
class State:
    """What a package may change on a host."""

    files: frozenset[str]
    users: frozenset[str]
    units: frozenset[str]
    rules: str
    sockets: frozenset[str]
    groups: frozenset[str]


def state(host: Machine) -> State:
    files = host.run("sh", "-c", _FILES, within=120)
    users = host.read("/etc/passwd") + host.read("/etc/group") + host.read("/etc/shadow")
    units = host.systemctl("list-units", "--all", "--plain", "--no-legend", "fairlead*")
    # It fails where there is none.
    units += host.try_run("systemctl", "list-unit-files", "--no-legend", "fairlead*").stdout
    groups = host.run("find", "/sys/fs/cgroup", "-type", "d", "-name", "*fairlead*")
    return State(
        frozenset(line for line in files.splitlines() if not _is_the_systems(line)),
        frozenset(users.splitlines()),
        frozenset(" ".join(line.split()) for line in units.splitlines()),
        host.run("nft", "list", "ruleset"),
        frozenset(
            line.split()[-1] for line in host.run("cat", "/proc/net/unix").splitlines() if "fairlead" in line
        ),
        frozenset(groups.splitlines()),
    )


def _is_the_systems(line: str) -> bool:
    ours = "/run/systemd/" in line and "fairlead" in line
    return not ours and any(path in line for path in _ITS_OWN)


def active(host: Machine) -> set[str]:
    """fairlead's units that run or are about to, without the requests to the privileged helper that are just
    answered."""
    listed = host.systemctl("list-units", "--plain", "--no-legend", "--state=active,activating", "fairlead*")
    return {line.split()[0] for line in listed.splitlines() if "@" not in line}


@contextmanager
def booted(suite: str, binds: Sequence[tuple[Path, str]] = ()) -> Iterator[Machine]:
    """No Python on it, as a private interpreter must need none."""
    with Machine(suite=suite, binds=binds) as host, host.powered():
        assert host.run("find", "/usr/bin", "-name", "python*") == ""
        yield host


def put(host: Machine, package: Path) -> str:
    """The package's file, there."""
    shutil.copy(package, host.path("/root") / package.name)
    return f"/root/{package.name}"


def install(host: Machine, version: str = __version__) -> str:
    """What dpkg said. Its standard input is closed, so that a question would be an error."""
    return dpkg(host, "--install", put(host, built_packages.deb(version)))


def dpkg(host: Machine, *words: str) -> str:
    done = host.try_run("dpkg", *words, within=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def configure(host: Machine) -> str:
    """The example, as an administrator would install it; without a mesh a drain takes its whole timeout."""
    example = host.read("/usr/share/doc/fairlead/examples/fairlead.toml")
    text = example.replace("timeout = 60", "timeout = 1").replace("settle = 5", "settle = 1")
    assert text != example
    host.write(CONFIG, text)
    return text


def configured(host: Machine) -> str:
    """The example, and the units that an administrator starts."""
    text = configure(host)
    host.systemctl("start", *STARTED)
    assert active(host) == set(STARTED)
    return text


def invocations(host: Machine) -> dict[str, str]:
    """A unit gets another identity with each start."""
    return {unit: host.show(unit, "InvocationID")["InvocationID"] for unit in STARTED}
