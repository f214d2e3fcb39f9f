"""Builds the real programs that the contract tests run against: once, into a cache outside the tree.

    python packaging/realparts.py build         all of them, with progress: what `make test` does
    python packaging/realparts.py where NAME    the path of one that is built

What is built is fixed by tests/real/ (go.mod, go.sum), the table below, debian.py, compiled.py and unpacked.py.
Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import compiled
import debian
import golang
import steps
import unpacked
from steps import Trouble

REAL = Path(__file__).resolve().parent.parent / "tests" / "real"
VERSION_OF_KUBERNETES = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Part:
    name: str
    folder: Path  # of the Go module that pins it
    package: str
    module: str  # whose version, in that module's go.mod, is the part's
    patience: str = ""

    @property
    def version(self) -> str:
        return _pinned(self.folder, self.module)

    @property
    def ldflags(self) -> str:
        flags = "-s -w"
        if self.name == "kube-apiserver":
            # Without these it calls itself v0.0.0-master, which clients cannot parse.
            major, minor, _ = self.version.removeprefix("v").split(".", 2)
            said = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
            flags += "".join(f" -X {VERSION_OF_KUBERNETES}.{name}={value}" for name, value in said.items())
        return flags

    @property
    def path(self) -> Path:
        sources = [self.folder / "go.mod", self.folder / "go.sum", *sorted(self.folder.glob("*.go"))]
        recipe = hashlib.sha256(f"{self.package} {self.ldflags}\0".encode())
        for source in sources:
            recipe.update(hashlib.sha256(source.read_bytes()).digest())
        name = f"{self.name}-{self.version}-{platform.machine()}-{recipe.hexdigest()[:12]}"
        return steps.cache() / "real" / name

    def build(self) -> None:
        go = golang.toolchain(_pinned(self.folder, "go"))
        fresh = self.path.with_name(f".{self.path.name}.new")
        argv = [str(go), "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", self.ldflags]
        name = f"{self.name} {self.version.removeprefix('v')}"
        steps.run(
            f"building {name} (once{self.patience})",
            f"build {name}",
            [*argv, "-o", str(fresh), self.package],
            "See the lines above; a Go module proxy must be reachable (Go's own settings apply).",
            golang.environment(go),
            self.folder,
        )
        fresh.rename(self.path)


PARTS = (
    Part("judge", REAL / "judge", ".", "github.com/spiffe/go-spiffe/v2"),
    Part("etcd", REAL, "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
    Part(
        "kube-apiserver",
        REAL,
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes",
        ", 3 to 8 minutes",
    ),
)

AnyPart = Part | unpacked.Packages | debian.Root | compiled.Compiled
# Built side by side, each line in its order: Go takes every core, and a Debian waits half of its time.
LINES: tuple[tuple[AnyPart, ...], ...] = (
    (*unpacked.FOLDERS, *unpacked.FOREIGN.values(), *PARTS),
    tuple(root for root in debian.ROOTS if root != debian.BULLSEYE),
    (debian.BULLSEYE, compiled.OLDEST),
)
ALL = tuple(part for line in LINES for part in line)


def main(args: list[str]) -> None:
    match args:
        case ["build"]:
            # Only root can make a Debian or run a firewall, and only root's tests do.
            build(*(ALL if os.geteuid() == 0 else PARTS))
        case ["where", name] if name in {part.name for part in ALL}:
            print(where(name))
        case _:
            names = ", ".join(part.name for part in ALL)
            raise Trouble("cannot read the command line", f"Say build, or where and one of {names}.", steps.USAGE)


def where(name: str) -> Path:
    part = next(part for part in ALL if part.name == name)
    if not part.path.exists():
        raise Trouble(
            f"cannot find {name} {part.version}: it is not built yet",
            "Run `make test` once (it builds the real parts), or leave them out with `pytest --no-real`.",
        )
    return part.path


def build(*wanted: AnyPart) -> None:
    """Those of them that are not there yet. One that cannot be built ends its line alone."""
    if not all(part.path.exists() for part in wanted):
        with steps.lock(steps.cache() / "real.lock", "waiting for another build of the real parts to end"):
            (steps.cache() / "real").mkdir(exist_ok=True)
            lines = [[part for part in line if part in wanted] for line in LINES]
            with ThreadPoolExecutor(len(LINES)) as side_by_side:
                ends = [side_by_side.submit(_build, line) for line in lines]
            for end in ends:
                end.result()


def _build(line: Iterable[AnyPart]) -> None:
    for part in line:
        if not part.path.exists():
            part.build()


def _pinned(folder: Path, module: str) -> str:
    found = re.search(
        rf"^(?:require |\t)?{re.escape(module)} (\S+)", (folder / "go.mod").read_text(), re.MULTILINE
    )
    if found is None:
        raise Trouble(f"cannot read {folder}/go.mod: {module} is not in it", "Run: git checkout tests/real")
    return found[1]


if __name__ == "__main__":
    steps.program(main)
