"""A Debian to boot in tests, and one to take an interpreter from: made once by debootstrap, never changed after.

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
LIBRARIES = {
    "bookworm": ("libssl3", "libffi8", "libsqlite3-0", "libreadline8", "libncursesw6", "libbz2-1.0"),
    "trixie": ("libssl3t64", "libffi8", "libsqlite3-0", "libreadline8t64", "libncursesw6", "libbz2-1.0"),
}
# What an administrator may install beside fairlead, and libfaketime.
BESIDE = ("firewalld", "libpam-systemd", "needrestart", "unattended-upgrades", "libfaketime")
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


@dataclass(frozen=True)
class WithPython:
    """`base` with Python in it: the packages' interpreter is copied out of that, and so asks for no newer glibc
    than that Debian has, whatever machine builds."""

    base: Root
    # What it is linked with is there already, but without the pages that name its licence.
    packages = ("python3.11", "libssl3", "libffi8", "libexpat1", "zlib1g", "libbz2-1.0", "liblzma5")

    @property
    def name(self) -> str:
        return f"python-{self.base.suite}"

    @property
    def version(self) -> str:
        return self.base.version

    @property
    def path(self) -> Path:
        recipe = f"{self.base.path} {' '.join(self.packages)}"
        key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        return steps.cache() / "real" / f"{self.name}-{platform.machine()}-{key}" / "root"

    def build(self) -> None:
        if not self.base.path.exists():
            self.base.build()
        fresh = self.path.parent.with_name(f".{self.path.parent.name}.new")
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700, parents=True)
        what, way_out = f"Debian ({self.base.suite}) with Python", "Name another root: make packages ROOT=/"
        copy = ["cp", "--archive", "--reflink=auto", str(self.base.path), str(fresh / "root")]
        steps.run(f"copying a {what}", f"copy a {what}", copy, way_out)
        apt = ["chroot", str(fresh / "root"), "apt-get", "-qy"]
        install = [*apt, "install", "--no-install-recommends", "--reinstall", *self.packages]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for argv in ([*apt, "update"], install):
            steps.run(f"making a {what}: {argv[4]}", f"make a {what}", argv, way_out, environment)
        fresh.rename(self.path.parent)


ROOTS = (Root("bookworm"), Root("trixie"), Root("bookworm", "-furnished", BESIDE))
# The oldest with an interpreter that is new enough.
OLDEST = WithPython(ROOTS[0])


def _tidy(root: Path, unwanted: Sequence[str]) -> None:
    for folder in _WEIGHT:
        shutil.rmtree(root / folder)
        (root / folder).mkdir()
    for pattern in unwanted:
        for link in (root / "etc/systemd/system").glob(pattern):
            if link.is_symlink():
                link.unlink()
