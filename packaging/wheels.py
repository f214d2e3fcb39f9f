"""The locked Python packages as the private interpreter imports them: wheels alone, for its glibc, compiled."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import distributions
import elf
import interpreter
import steps

LOCK = Path(__file__).resolve().parent / "package.lock"
# For type checkers, compilers, tests and installers; the licences in *.dist-info stay.
LEFT_OUT = (
    "*.pyi",
    "py.typed",
    "*.pyx",
    "*.pxd",
    "*.pxi",
    "*.c",
    "*.h",
    "*.hash",
    "tests",
    "bin",
    "__pycache__",
    "_testcapi.*",
    "zip-safe",
)
LEFT_OUT_OF_INFO = ("RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json", "top_level.txt")


def cached(home: Path, name: str, machine: str, compiler: Path) -> Path:
    """Installed once for each lock and interpreter. `home`: the private interpreter. `name`: as python3.11.
    `compiler`: a private interpreter of the same version, that runs here."""
    place = steps.cache() / "package" / f"wheels-{key(home)}"
    if not place.exists():
        fresh = place.with_name(f".{place.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        install(fresh, name, max(distributions.GLIBC, elf.floor(elf.files(home))), machine)
        prune(fresh)
        interpreter.compile_all(compiler, fresh, "the wheels")
        fresh.rename(place)
    return place


def key(home: Path) -> str:
    digest = hashlib.sha256(home.name.encode())
    for path in (LOCK, Path(__file__)):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def install(into: Path, name: str, floor: elf.Version, machine: str) -> None:
    short = name.removeprefix("python").replace(".", "")
    argv = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile", "--no-deps"]
    argv += ["--require-hashes", "--only-binary=:all:", "--target", str(into), "-r", str(LOCK)]
    argv += ["--implementation", "cp", "--python-version", short]
    argv += [word for abi in (f"cp{short}", "abi3", "none") for word in ("--abi", abi)]
    argv += [word for tag in platforms(floor, machine) for word in ("--platform", tag)]
    way_out = "See the lines above; a package index must be reachable (pip's own settings apply)."
    steps.run("installing the package's wheels", "install the package's wheels", argv, way_out)


def platforms(floor: elf.Version, machine: str) -> list[str]:
    """The newest first: every manylinux that a host with this glibc may run."""
    return [f"manylinux_2_{minor}_{machine}" for minor in range(floor[1], 16, -1)] + [f"manylinux2014_{machine}"]


def prune(tree: Path) -> None:
    info = [path for name in LEFT_OUT_OF_INFO for path in tree.glob(f"*.dist-info/{name}")]
    for path in [*(path for name in LEFT_OUT for path in tree.rglob(name)), *info]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def names(tree: Path) -> list[tuple[str, str, str]]:
    """Name, version and licence of each, as its metadata says."""
    return [_metadata(path) for path in sorted(tree.glob("*.dist-info/METADATA"))]


def _metadata(path: Path) -> tuple[str, str, str]:
    head = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    fields = dict(line.split(": ", 1) for line in head if ": " in line and not line.startswith(" "))
    licence = fields.get("License-Expression") or fields.get("License") or fields["Classifier"]
    return fields["Name"], fields["Version"], licence
