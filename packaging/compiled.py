"""The packages' interpreter, compiled in an old Debian from the sources of a newer one: it needs a C library no
newer than the old one's, and has the security fixes of the newer.

Its shared libraries are compiled the same way: the old Debian's get no fixes any more. The result is a root folder
as interpreter.py takes it: program, standard library, shared libraries, and dpkg's records of whose they are.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import steps
from debian import BULLSEYE, Root
from steps import Trouble

RECIPE = Path(__file__).resolve().parent / "files" / "compile-interpreter"
TOOLS = ("gcc", "make", "libc6-dev", "dpkg-dev", "autoconf", "pkg-config", "python3-minimal", "binutils")
# Source package, in the order in which one needs the other: Debian's name for what is made of it, and its files.
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "zlib": ("zlib1g", ("lib/*/libz.so.*",)),
    "libffi": ("libffi8", ("lib/*/libffi.so.*",)),
    "bzip2": ("libbz2-1.0", ("lib/*/libbz2.so.*",)),
    "xz-utils": ("liblzma5", ("lib/*/liblzma.so.*",)),
    "openssl": ("libssl3", ("lib/*/libssl.so.*", "lib/*/libcrypto.so.*")),
    "python3.11": ("python3.11", ("bin/python3.11",)),
}
KEYS = "usr/share/keyrings/debian-archive-keyring.gpg"
ARCHIVES = ("debian {suite} main", "debian-security {suite}-security main")
WAY_OUT = "See the lines above; Debian's archive must be reachable. Or name another root: make packages ROOT=/"


@dataclass(frozen=True)
class Compiled:
    """`base`: the Debian whose C library is the floor. `suite`: the one whose sources are compiled."""

    base: Root
    suite: str

    @property
    def name(self) -> str:
        return f"python-on-{self.base.suite}"

    @property
    def version(self) -> str:
        return self.suite

    @property
    def path(self) -> Path:
        recipe = f"{self.base.path} {self.suite} {TOOLS} {PARTS} {ARCHIVES} {RECIPE.read_text()}"
        key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        return steps.cache() / "real" / f"{self.name}-{platform.machine()}-{key}" / "root"

    def build(self) -> None:
        if not self.base.path.exists():
            self.base.build()
        fresh = self.path.parent.with_name(f".{self.path.parent.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        workshop = fresh / "workshop"
        copy = ["cp", "--archive", "--reflink=auto", str(self.base.path), str(workshop)]
        steps.run(f"copying a Debian ({self.base.suite})", "copy a Debian", copy, WAY_OUT)
        self._furnish(workshop)
        versions = {name: self._fetch(workshop, name) for name in PARTS}
        shutil.copy(RECIPE, workshop / "compile")
        compile_ = ["chroot", str(workshop), "sh", "/compile", str(os.cpu_count() or 1), *PARTS]
        steps.run("compiling the interpreter (once, 3 to 6 minutes)", "compile it", compile_, WAY_OUT)
        (workshop / "made").rename(fresh / "root")
        _record(fresh / "root", workshop / "src", versions)
        shutil.rmtree(workshop)
        fresh.rename(self.path.parent)

    def _furnish(self, workshop: Path) -> None:
        """A compiler, and where the sources are: beside the archive that the base came from."""
        archive = (workshop / "etc/apt/sources.list").read_text().split()[1].rstrip("/").removesuffix("/debian")
        lines = [f"deb-src [signed-by=/{KEYS}] {archive}/{one.format(suite=self.suite)}\n" for one in ARCHIVES]
        (workshop / "etc/apt/sources.list.d/sources.list").write_text("".join(lines))
        shutil.copy(Path("/") / KEYS, workshop / KEYS)
        for argv in (["update"], ["install", "--no-install-recommends", *TOOLS]):
            apt = ["chroot", str(workshop), "apt-get", "-qy", *argv]
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            steps.run(f"preparing the compiler: {argv[0]}", "prepare the compiler", apt, WAY_OUT, env)

    def _fetch(self, workshop: Path, name: str) -> str:
        """The version of what is now unpacked in src: the newest, or, where an archive lists it and does not have
        its files, the one of the last point release."""
        (workshop / "src").mkdir(exist_ok=True)
        for wanted in (name, f"{name}/{self.suite}"):
            argv = ["chroot", str(workshop), "sh", "-c", 'cd /src && apt-get -qy source "$0"', wanted]
            done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
            if done.returncode == 0:
                break
            steps.say(f"cannot fetch the source {wanted}: {_cause(done.stderr)}")
        else:
            raise Trouble(f"cannot fetch the source of {name}", WAY_OUT)
        (log,) = (workshop / "src").glob(f"{name}-*/debian/changelog")
        version = log.read_text().split("(")[1].split(")")[0]
        steps.say(f"compiling {name} {version}")
        return version


def _cause(said: str) -> str:
    return next((line for line in said.splitlines() if line.startswith("E:")), said.strip())


def _record(root: Path, sources: Path, versions: dict[str, str]) -> None:
    """In dpkg's form, what each file is of, and the licences where Debian has them."""
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    status = []
    for source, (name, patterns) in PARTS.items():
        files = [path for pattern in patterns for path in sorted((root / "usr").glob(pattern))]
        (info / f"{name}.list").write_text("".join(f"/{path.relative_to(root)}\n" for path in files))
        fields = (f"Package: {name}", "Status: install ok installed", "Architecture: all", f"Source: {source}")
        status.append("\n".join([*fields, f"Version: {versions[source]}", ""]))
        (licence,) = sources.glob(f"{source}-*/debian/copyright")
        (root / "usr/share/doc" / name).mkdir(parents=True)
        shutil.copy(licence, root / "usr/share/doc" / name / "copyright")
    (info.parent / "status").write_text("\n".join(status))


# What is compiled has no symbol version above this C library's.
OLDEST = Compiled(BULLSEYE, "bookworm")
