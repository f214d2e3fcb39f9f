"""The cache of the packages' builds does not grow without bound, and keeps what is in use."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

PACKAGING = Path(__file__).parents[2] / "packaging"
FORGET = "import sys, pathlib, shelf; shelf.forget(pathlib.Path(sys.argv[1]))"
DAY = 86_400


def used(shelf: Path, name: str, ago: float) -> Path:
    place = shelf / name
    place.mkdir()
    (place / "file").touch()
    os.utime(place, (0, time.time() - ago))
    return place


def left(shelf: Path) -> set[str]:
    subprocess.run([sys.executable, "-c", FORGET, str(shelf)], env={"PYTHONPATH": str(PACKAGING)}, check=True)
    return {path.name for path in shelf.iterdir()}


def test_the_last_few_of_each_kind_are_kept(tmp_path: Path) -> None:
    for number in range(9):
        used(tmp_path, f"dist-{number}", DAY * (1 + number))
    used(tmp_path, "wheels-1", DAY * 100)
    assert left(tmp_path) == {"wheels-1", *(f"dist-{number}" for number in range(6))}


def test_what_was_just_used_is_kept(tmp_path: Path) -> None:
    names = {used(tmp_path, f"dist-{number}", 60.0 * number).name for number in range(9)}
    assert left(tmp_path) == names


def test_what_somebody_holds_is_kept(tmp_path: Path) -> None:
    for number in range(9):
        used(tmp_path, f"dist-{number}", DAY * (1 + number))
    handle = os.open(tmp_path / "dist-8", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    assert left(tmp_path) == {"dist-8", *(f"dist-{number}" for number in range(6))}
    os.close(handle)
    assert "dist-8" not in left(tmp_path)


def test_what_a_killed_build_began_is_taken_away(tmp_path: Path) -> None:
    used(tmp_path, ".wheels-1.new", DAY)
    used(tmp_path, ".wheels-2.new", 60.0)
    (tmp_path / ".dist-1.lock").touch()
    os.utime(tmp_path / ".dist-1.lock", (0, 0))
    assert left(tmp_path) == {".wheels-2.new"}
