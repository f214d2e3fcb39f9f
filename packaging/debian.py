"""A Debian to boot in tests, and to compile an interpreter in: made once by debootstrap, never changed after.

What runs in the first lays a writable layer over it, so each boot starts from the same.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import steps

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "kmod", "netbase", "procps", "ca-certificates"),
    *("iproute2", "nftables", "iptables", "openssh-server"),
)
# What an interpreter that was built on this machine may be linked with: package names differ by suite.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "bullseye": (),  # its C library is older than this machine's can be
    "bookworm": ("libssl3", "libffi8", "libsqlite3-0", "libreadline8", "libncursesw6", "libbz2-1.0"),
    "trixie": ("libssl3t64", "libffi8", "libsqlite3-0", "libreadline8t64", "libncursesw6", "libbz2-1.0"),
}
# What an administrator may install beside fairlead, and libfaketime.
BESIDE = ("firewalld", "libpam-systemd", "needrestart", "unattended-upgrades", "libfaketime")
# What brings a join bundle to many hosts.
# debootstrap does not find what python3-cryptography needs, which is a name that another package provides.
PROVISIONING = ("cloud-init", "ansible-core", "python3-cffi-backend")
# Nothing that runs by the clock, and no daemon before a test wants one.
_UNWANTED = ("timers.target.wants/*", "getty.target.wants/*", "multi-user.target.wants/ssh*", "sshd*")
_WEIGHT = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


@dataclass(frozen=True)
class Root:
    """`more`: packages beside those of every root, whose daemons no boot starts; `kind`: what it is called for
    them."""

    suite: str
    kind: str = ""
    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"debian-{self.suite}{self.kind}"

    @property
    def path(self) -> Path:
        recipe = "\n".join([*self._packages, *_UNWANTED, *_WEIGHT])
        key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        return steps.cache() / "real" / f"{self.name}-{platform.machine()}-{key}" / "root"

    @property
    def version(self) -> str:
        return self.suite

    @property
    def _packages(self) -> tuple[str, ...]:
        return (*PACKAGES, *LIBRARIES[self.suite], *self.more)

    def build(self) -> None:
        fresh = self.path.parent.with_name(f".{self.path.parent.name}.new")
        if fresh.exists():
            shutil.rmtree(fresh)
        # Closed to others: it contains set-user-ID programs.
        fresh.mkdir(mode=0o700, parents=True)
        packages = ",".join(self._packages)
        steps.run(
            f"making a Debian ({self.suite}{self.kind}) to boot in tests (once, about 2 minutes)",
            f"make a Debian ({self.suite})",
            ["debootstrap", "--variant=minbase", f"--include={packages}", self.suite, str(fresh / "root")],
            "See the lines above; Debian's archive must be reachable (debootstrap's own settings apply).",
            {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        )
        _tidy(fresh / "root", (*_UNWANTED, *(f"multi-user.target.wants/{name}*" for name in self.more)))
        fresh.rename(self.path.parent)


BULLSEYE = Root("bullseye")
ROOTS = (
    *(Root("bookworm"), Root("trixie"), BULLSEYE, Root("bookworm", "-furnished", BESIDE)),
    Root("bookworm", "-provisioned", PROVISIONING),
)


def _tidy(root: Path, unwanted: Sequence[str]) -> None:
    for folder in _WEIGHT:
        shutil.rmtree(root / folder)
        (root / folder).mkdir()
    for pattern in unwanted:
        for link in (root / "etc/systemd/system").glob(pattern):
            if link.is_symlink():
                link.unlink()
