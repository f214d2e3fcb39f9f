"""Programs out of Debian's packages, unpacked and not installed: nothing is configured, enabled or started."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import steps
from steps import Trouble

_RELEASE = Path("/etc/os-release")
_APT = ("apt-get", "-o", "APT::Sandbox::User=root")  # its own user could not write where ours may
_WAY_OUT = "Run: sudo apt-get update, and try again; or leave the real parts out with `pytest --no-real`."


@dataclass(frozen=True)
class Packages:
    """A folder with these packages in it, and whatever else they need and this machine lacks. An archive keeps
    the newest of a release alone, so the folder is the release's."""

    name: str
    packages: tuple[str, ...]

    @property
    def version(self) -> str:
        text = _RELEASE.read_text() if _RELEASE.exists() else ""
        found = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', text, re.MULTILINE))
        return f"{found.get('ID', 'unknown')}-{found.get('VERSION_ID', 'rolling')}"

    @property
    def path(self) -> Path:
        recipe = hashlib.sha256(" ".join(self.packages).encode()).hexdigest()[:12]
        return steps.cache() / "real" / f"{self.name}-{self.version}-{platform.machine()}-{recipe}"

    def build(self) -> None:
        fresh = self.path.with_name(f".{self.path.name}.new")
        # Old lists name versions that the archive has no more.
        steps.run("refreshing the package lists", "refresh the package lists", [*_APT, "update"], _WAY_OUT)
        with tempfile.TemporaryDirectory() as folder:
            argv = [*_APT, "download", *self._missing()]
            what = " and ".join(self.packages)
            steps.run(f"downloading {what}", f"download {what}", argv, _WAY_OUT, cwd=Path(folder))
            for package in sorted(Path(folder).glob("*.deb")):
                unpack = ["dpkg-deb", "--extract", str(package), str(fresh)]
                steps.run(f"unpacking {package.name}", f"unpack {package.name}", unpack, "See the lines above.")
        fresh.rename(self.path)

    def _missing(self) -> list[str]:
        """Names with their versions, as apt would install them here."""
        argv = [*_APT, "install", "--reinstall", "--print-uris", "--no-install-recommends", "-qq", *self.packages]
        try:
            told = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
        except OSError as error:
            raise Trouble(f"cannot get {' and '.join(self.packages)}: {error}", _WAY_OUT) from None
        if told.returncode != 0:
            raise Trouble(f"cannot get {' and '.join(self.packages)}: {told.stderr.strip()}", _WAY_OUT)
        files = (line.split()[1].split("_") for line in told.stdout.splitlines())
        return [f"{name}={version.replace('%3a', ':')}" for name, version, _ in files]


FOLDERS = (Packages("firewalls", ("firewalld", "python3-firewall", "python3-nftables", "ufw")),)
