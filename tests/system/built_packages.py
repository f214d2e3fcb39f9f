"""The packages of this tree, built once for each content of it, also where several processes ask at once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from agent import __version__

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "packaging/packages.py"
_WHAT_COUNTS = ("agent/**/*.py", "packaging/**/*", "systemd/*", "config/**/*", "docs/*.md", "README.md", "LICENSE")


def deb(version: str = __version__, root: Path | None = None) -> Path:
    """`root`: with the interpreter from there, not with the packages' own."""
    return _one(version, "*.deb", root)


def rpm(version: str = __version__) -> Path:
    return _one(version, "*.rpm")


def for_another(architecture: str) -> Path:
    """The folder of the packages for it."""
    return _folder(__version__, architecture, "--arch", architecture)


def tree() -> Path:
    """The folder of the .deb's version, with interpreter and libraries, beside the package: not installed."""
    package = deb()
    place = package.parent / "unpacked"
    with package.with_name(".unpacked.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            fresh = package.parent / ".unpacked.new"
            subprocess.run(["dpkg-deb", "--extract", package, fresh], check=True, env={**os.environ})
            fresh.rename(place)
    return next((place / "usr/lib/fairlead").glob(f"{__version__}-*"))


def build(into: Path, version: str = __version__, *more: str, **environment: str) -> str:
    """What it said."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--version", version, "--into", str(into), *more],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairlead/package"


def _one(version: str, pattern: str, root: Path | None = None) -> Path:
    more = ("--root", str(root)) if root else ()
    return next(_folder(version, "other" if root else "", *more).glob(pattern))


def _folder(version: str, kind: str, *more: str) -> Path:
    folder = cache() / "-".join(word for word in ("dist", _key(), version, kind) if word)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = folder.with_name(f".{folder.name}.new")
            build(fresh, version, *more)
            fresh.rename(folder)
        # To the end of this process: packaging/shelf.py removes what is not held and was not used for long.
        fcntl.flock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_SH)
        os.utime(folder)
    return folder


def _key() -> str:
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"], capture_output=True, check=True, env={**os.environ}
    )
    digest = hashlib.sha256(commit.stdout)
    files = {path for pattern in _WHAT_COUNTS for path in ROOT.glob(pattern) if path.is_file()}
    for path in sorted(files):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
