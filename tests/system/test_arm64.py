"""The packages for arm64: their contents by reading, and the interpreter by an emulator of the processor."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from agent import __version__
from tests.lab.realparts import where
from tests.system import built_packages

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]


def output(*argv: str | Path) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packages() -> tuple[Path, Path]:
    folder = built_packages.for_another("arm64")
    return next(folder.glob("*_arm64.deb")), next(folder.glob("*.aarch64.rpm"))


@pytest.fixture(scope="module")
def tree(packages: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one version's own folder."""
    folder = tmp_path_factory.mktemp("arm64")
    output("dpkg-deb", "--extract", packages[0], folder)
    (found,) = (folder / "usr/lib/fairlead").glob(f"{__version__}-*")
    return found


def elf(tree: Path) -> list[Path]:
    return [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink() and is_elf(path)]


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def test_every_program_and_library_is_for_that_processor(tree: Path) -> None:
    found = elf(tree)
    assert len(found) > 30
    headers = output("readelf", "--file-header", *found)
    assert re.findall(r"Machine: +(\w+)", headers) == ["AArch64"] * len(found)


def test_the_minimum_is_what_the_files_ask_for(tree: Path, packages: tuple[Path, Path]) -> None:
    asked = re.findall(r"Name: GLIBC_([0-9.]+)", output("readelf", "--version-info", "--wide", *elf(tree)))
    floor = max(asked, key=lambda version: [int(number) for number in version.split(".")])
    assert output("dpkg-deb", "--field", packages[0], "Architecture") == "arm64\n"
    assert f"libc6 (>= {floor})" in output("dpkg-deb", "--field", packages[0], "Depends")
    assert f"libc.so.6(GLIBC_{floor})(64bit)" in output("rpm", "--query", "--package", "--requires", packages[1])
    assert f"**{floor}** on arm64" in (built_packages.ROOT / "docs/packaging.md").read_text()


def test_it_has_the_same_modules_as_the_package_of_this_machine(tree: Path) -> None:
    def modules(folder: Path) -> set[str]:
        return {str(path.relative_to(folder)) for path in (folder / "lib").rglob("*.py")}

    own = {path for path in modules(built_packages.tree()) ^ modules(tree) if "_sysconfigdata" not in path}
    assert own <= {"lib/python3.11/_distutils_system_mod.py"}


def test_the_interpreter_imports_the_agent(tree: Path) -> None:
    """By qemu's emulation of the processor. The kernel is this machine's."""
    imports = "import platform, ssl, yaml, cryptography.x509, agent.daemon.configurations, agent.proxyunit.gate"
    program: list[str | Path] = [
        tree / "bin/python",
        "-IS",
        "-c",
        f"{imports}; print(platform.machine(), agent.__version__)",
    ]
    said = output("qemu-aarch64-static", "-L", where("python-arm64"), *program)
    assert said == f"aarch64 {__version__}\n"
