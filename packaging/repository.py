"""Writes a signed apt and a signed rpm repository of the packages in dist/: what `make repository` does.

    python packaging/repository.py --key KEY [--packages DIR] [--into DIR]

A static web server can serve the folder. KEY is one of gpg's secret keys, by fingerprint or address. The same
packages, key and commit give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import packages
import steps
from contents import ROOT
from steps import Trouble

SUITE, COMPONENT = "stable", "main"
KEY_FILE = "fairlead.asc"
_SOURCE = f"deb [signed-by=/usr/share/keyrings/{KEY_FILE}] URL/apt {SUITE} {COMPONENT}"
_REPO = """\
[fairlead]
name=fairlead
baseurl=URL/rpm
gpgkey=URL/fairlead.asc
repo_gpgcheck=1
# The signed index has the hash of each package.
gpgcheck=0
"""


def main(args: list[str]) -> None:
    asked = _parser().parse_args(args)
    found = sorted([*asked.packages.glob("fairlead_*.deb"), *asked.packages.glob("fairlead-*.rpm")])
    if not found:
        raise Trouble(f"cannot find a package in {asked.packages}", "Run: make packages")
    fresh: Path = asked.into.with_name(f".{asked.into.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    signer = Signer(asked.key, packages.epoch())
    (fresh / KEY_FILE).write_bytes(signer.public())
    apt(fresh / "apt", [path for path in found if path.suffix == ".deb"], signer)
    rpm(fresh / "rpm", [path for path in found if path.suffix == ".rpm"], signer)
    (fresh / "fairlead.list").write_text(f"{_SOURCE}\n")
    (fresh / "fairlead.repo").write_text(_REPO)
    shutil.rmtree(asked.into, ignore_errors=True)
    fresh.rename(asked.into)
    steps.say(f"{asked.into}: {len(found)} packages, signed with {asked.key}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="repository.py")
    parser.add_argument("--key", required=True, help="a secret key of gpg")
    parser.add_argument("--packages", type=Path, default=ROOT / "dist", help="default: dist")
    parser.add_argument("--into", type=Path, default=ROOT / "dist/repository", help="default: dist/repository")
    return parser


class Signer:
    def __init__(self, key: str, epoch: int) -> None:
        self.key, self.epoch = key, epoch

    def public(self) -> bytes:
        """Raises Trouble when there is no such key."""
        found = _gpg("--armor", "--export", self.key)
        if not found:
            raise Trouble(f"cannot find the key {self.key} in gpg's keyring", "See: gpg --list-secret-keys", 64)
        return found

    def sign(self, path: Path, into: Path, *how: str) -> None:
        """At the time of the commit, or at once where the key is younger: gpg takes no key before its time."""
        at = max(self.epoch, self._made())
        when = ("--faked-system-time", f"{at}!")
        into.unlink(missing_ok=True)
        _gpg(*when, "--local-user", self.key, "--digest-algo", "SHA512", *how, "--output", str(into), str(path))

    def _made(self) -> int:
        listed = _gpg("--with-colons", "--list-keys", self.key).decode().splitlines()
        return max(int(line.split(":")[5]) for line in listed if line.startswith(("pub:", "sub:")))


def _gpg(*words: str) -> bytes:
    argv = ["gpg", "--batch", "--yes", "--quiet", "--no-emit-version", *words]
    done = subprocess.run(argv, capture_output=True, check=False, env={**os.environ})
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise Trouble(f"cannot sign the repository: {said}", "See: gpg --list-secret-keys")
    return done.stdout


# apt -----------------------------------------------------------------------------------------------


def apt(into: Path, debs: Sequence[Path], signer: Signer) -> None:
    pool, suite = into / "pool", into / "dists" / SUITE
    pool.mkdir(parents=True)
    entries: dict[str, list[str]] = {}
    for path in debs:
        shutil.copyfile(path, pool / path.name)
        fields = _control(path)
        entries.setdefault(_field(fields, "Architecture"), []).append(_entry(fields, path))
    for architecture, texts in entries.items():
        index = suite / COMPONENT / f"binary-{architecture}" / "Packages"
        index.parent.mkdir(parents=True)
        index.write_text("\n".join(texts))
        index.with_suffix(".gz").write_bytes(gzip.compress(index.read_bytes(), mtime=0))
    (suite / "Release").write_text(_release(suite, sorted(entries), signer.epoch))
    signer.sign(suite / "Release", suite / "InRelease", "--clearsign")
    signer.sign(suite / "Release", suite / "Release.gpg", "--armor", "--detach-sign")


def _control(path: Path) -> str:
    argv = ["dpkg-deb", "--field", str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=True, env={**os.environ}).stdout


def _field(fields: str, name: str) -> str:
    return next(line.split(": ", 1)[1] for line in fields.splitlines() if line.startswith(f"{name}: "))


def _entry(fields: str, path: Path) -> str:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return f"{fields}Filename: pool/{path.name}\nSize: {len(content)}\nSHA256: {digest}\n"


def _release(suite: Path, architectures: Sequence[str], epoch: int) -> str:
    date = format_datetime(datetime.fromtimestamp(epoch, UTC), usegmt=True)
    lines = ["Origin: fairlead", "Label: fairlead", f"Suite: {SUITE}", f"Codename: {SUITE}", f"Date: {date}"]
    lines += [f"Architectures: {' '.join(architectures)}", f"Components: {COMPONENT}", "SHA256:"]
    for path in sorted(suite.rglob("Packages*")):
        content = path.read_bytes()
        lines.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {path.relative_to(suite)}")
    return "\n".join([*lines, ""])


# rpm -----------------------------------------------------------------------------------------------


def rpm(into: Path, rpms: Sequence[Path], signer: Signer) -> None:
    into.mkdir()
    for path in rpms:
        shutil.copyfile(path, into / path.name)
        os.utime(into / path.name, (signer.epoch, signer.epoch))
    argv = ["createrepo_c", "--quiet", "--simple-md-filenames", "--no-database", "--general-compress-type=gz"]
    argv += [f"--revision={signer.epoch}", "--set-timestamp-to-revision", str(into)]
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(signer.epoch)}
    steps.run("indexing the rpm repository", "index the rpm repository", argv, "See the lines above.", env)
    index = into / "repodata/repomd.xml"
    signer.sign(index, index.with_suffix(".xml.asc"), "--armor", "--detach-sign")


if __name__ == "__main__":
    steps.program(main)
