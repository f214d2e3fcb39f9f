"""Programs out of Debian's packages, unpacked and not installed: nothing is configured, enabled or started."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import steps
from steps import Trouble

_RELEASE = Path("/etc/os-release")
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"  # debootstrap's too
_APT = ("apt-get", "-o", "APT::Sandbox::User=root")  # its own user could not write where ours may
_WAY_OUT = "Run: sudo apt-get update, and try again; or leave the real parts out with `pytest --no-real`."


@dataclass(frozen=True)
class Packages:
    """A folder with these packages in it, and whatever else they need and this machine lacks. An archive keeps
    the newest of a release alone, so the folder is the release's. `suite`: another release of Debian than this
    machine's; then all that they need is in the folder, the C library too. `architecture`: another one than this
    machine's; then the folder has dpkg's records too."""

    name: str
    packages: tuple[str, ...]
    suite: str = ""
    architecture: str = ""

    @property
    def version(self) -> str:
        text = _RELEASE.read_text() if _RELEASE.exists() else ""
        found = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', text, re.MULTILINE))
        return self.suite or f"{found.get('ID', 'unknown')}-{found.get('VERSION_ID', 'rolling')}"

    @property
    def path(self) -> Path:
        recipe = hashlib.sha256(" ".join(self.packages).encode()).hexdigest()[:12]
        return steps.cache() / "real" / f"{self.name}-{self.version}-{platform.machine()}-{recipe}"

    def build(self) -> None:
        fresh = self.path.with_name(f".{self.path.name}.new")
        with tempfile.TemporaryDirectory() as folder:
            apt = [*_APT, *(_apart(Path(folder), self.suite, self.architecture) if self.suite else ())]
            # Old lists name versions that the archive no longer has.
            steps.run("refreshing the package lists", "refresh the package lists", [*apt, "update"], _WAY_OUT)
            argv = [*apt, "download", *self._missing(apt)]
            what = " and ".join(self.packages)
            steps.run(f"downloading {what}", f"download {what}", argv, _WAY_OUT, cwd=Path(folder))
            for package in sorted(Path(folder).glob("*.deb")):
                unpack = ["dpkg-deb", "--extract", str(package), str(fresh)]
                steps.run(f"unpacking {package.name}", f"unpack {package.name}", unpack, "See the lines above.")
                if self.architecture:
                    _record(package, fresh / "var/lib/dpkg")
        fresh.rename(self.path)

    def _missing(self, apt: Sequence[str]) -> list[str]:
        """Names with their versions, as apt would install them here."""
        again = () if self.suite else ("--reinstall",)
        words = ("install", *again, "--print-uris", "--no-install-recommends", "-qq")
        told = _said([*apt, *words, *self.packages], f"get {' and '.join(self.packages)}")
        files = (line.split()[1].split("_") for line in told.splitlines())
        return [f"{name}={version.replace('%3a', ':')}" for name, version, _ in files]


def _record(package: Path, into: Path) -> None:
    """As dpkg does: which files are of this package."""
    info = into / "info"
    info.mkdir(parents=True, exist_ok=True)
    name = _said(["dpkg-deb", "--field", str(package), "Package"], f"read {package.name}").strip()
    listed = _said(["dpkg-deb", "--contents", str(package)], f"read {package.name}").splitlines()
    files = [line.split(None, 5)[5].split(" -> ")[0].removeprefix(".").rstrip("/") for line in listed]
    (info / f"{name}.list").write_text("".join(f"{path}\n" for path in files))
    fields = _said(["dpkg-deb", "--field", str(package), "Package", "Version"], f"read {package.name}")
    with (into / "status").open("a") as status:
        status.write(f"{fields}Status: install ok installed\nArchitecture: all\n\n")


def _apart(folder: Path, suite: str, architecture: str) -> list[str]:
    """Options of an apt that knows this suite alone and finds nothing installed: from the archive that
    this machine takes its own packages from."""
    shown = _said(
        [*_APT, "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"],
        f"find the archive of {suite}",
    )
    rows = (line.split("|") for line in shown.splitlines())
    found = next((uri for origin, label, uri in rows if (origin, label) == ("Debian", "Debian")), None)
    if found is None:
        raise Trouble(
            f"cannot find the archive of {suite}: this machine takes no packages from Debian's", _WAY_OUT
        )
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYS}] {found} {suite} main\n")
    (folder / "status").touch()
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    other = ("-o", f"APT::Architecture={architecture}", "-o", f"APT::Architectures={architecture}")
    return [
        *(other if architecture else ()),
        *("-o", f"Dir::Etc::sourcelist={folder}/sources.list", "-o", "Dir::Etc::sourceparts=-"),
        *("-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::State::status={folder}/status"),
        *("-o", f"Dir::Cache={folder}/cache", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"),
    ]


def _said(argv: Sequence[str], what: str) -> str:
    try:
        told = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    except OSError as error:
        raise Trouble(f"cannot {what}: {error}", _WAY_OUT) from None
    if told.returncode != 0:
        raise Trouble(f"cannot {what}: {told.stderr.strip()}", _WAY_OUT)
    return told.stdout


FOLDERS = (
    Packages("firewalls", ("firewalld", "python3-firewall", "python3-nftables", "ufw")),
    Packages("firewall-tools", ("nftables", "iptables"), "forky"),
)
# The interpreter of the packages for another architecture: Debian's own, which no machine here can compile.
FOREIGN = {"arm64": Packages("python-arm64", ("python3.11", "libstdc++6"), "bookworm", "arm64")}
