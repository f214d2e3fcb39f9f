"""The image for arm64: what is in it by reading, and its entry point by an emulator of the processor."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from agent import __version__
from tests.watcher.test_watcher_image import blob, build, configuration, manifest

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("arm64"), "--arch", "arm64")


@pytest.fixture(scope="module")
def unpacked(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unpacked")
    (packed,) = manifest(layout)["layers"]
    output("tar", "-xpzf", blob(layout, packed), "-C", place)
    return place


def output(*argv: str | Path) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def test_it_says_which_processor_it_is_for(layout: Path) -> None:
    (listed,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert listed["platform"] == {"architecture": "arm64", "os": "linux"}
    assert configuration(layout)["architecture"] == "arm64"


def test_every_library_in_it_is_for_that_processor(unpacked: Path) -> None:
    files = [path for path in unpacked.rglob("*") if path.is_file() and not path.is_symlink()]
    found = [path for path in files if is_elf(path)]
    assert (unpacked / "lib/ld-linux-aarch64.so.1") in found and len(found) > 30
    headers = output("readelf", "--file-header", *found)
    assert headers.count("AArch64") == len(found)


def test_its_entry_point_runs_with_the_libraries_that_it_brings(unpacked: Path) -> None:
    """By qemu's emulation of the processor. The kernel is this machine's."""
    (python,) = unpacked.glob(f"usr/lib/fairlead/{__version__}-*/bin/python")
    program: list[str | Path] = [
        "qemu-aarch64-static",
        "-L",
        unpacked,
        python,
        "-IS",
        unpacked / "usr/bin/fairlead",
    ]
    assert output(*program, "--version") == f"fairlead {__version__}\n"
    outside = subprocess.run(
        [*program, "watcher"], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    )
    assert outside.returncode == 69 and "this is not a pod" in outside.stderr, outside.stderr
