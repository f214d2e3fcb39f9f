"""Build results in the cache for the next build: held while in use, removed when last used long ago."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections import defaultdict
from pathlib import Path

LONG = 6 * 3600.0  # seconds
FEW = 6  # of each kind, which are kept however old they are


def hold(place: Path) -> Path:
    """Mark it as used now, and hold it until this process ends: no build removes it (as in
    tests/system/built_packages.py)."""
    fcntl.flock(os.open(place, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_SH)
    os.utime(place)
    return place


def forget(shelf: Path) -> None:
    """Remove what was used long ago, also what a killed build had begun, except the last few of each kind."""
    kinds: dict[str, list[tuple[float, Path]]] = defaultdict(list)
    for place in shelf.iterdir():
        kinds[place.name.split("-")[0]].append((place.stat().st_mtime, place))
    for kind, places in kinds.items():
        few = 0 if kind.startswith(".") else FEW
        for used, place in sorted(places, reverse=True)[few:]:
            if time.time() - used > LONG:
                _remove(place)


def _remove(place: Path) -> None:
    """Unless a process holds it. The removal is atomic for other processes."""
    if not place.is_dir():
        place.unlink()
        return
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(place.rename(place.with_name(f".{place.name.lstrip('.')}.old")))
    except BlockingIOError:
        pass
    finally:
        os.close(handle)
