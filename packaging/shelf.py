"""What one build leaves for the next, in the cache: held while it is used, forgotten when that was long ago."""

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
    """Used now, and by this process to its end: nobody forgets it meanwhile (as in tests/system/built.py)."""
    fcntl.flock(os.open(place, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_SH)
    os.utime(place)
    return place


def forget(shelf: Path) -> None:
    """What was used long ago, also what a build that was killed had begun, but for the last few of each kind."""
    kinds: dict[str, list[tuple[float, Path]]] = defaultdict(list)
    for place in shelf.iterdir():
        kinds[place.name.split("-")[0]].append((place.stat().st_mtime, place))
    for kind, places in kinds.items():
        few = 0 if kind.startswith(".") else FEW
        for used, place in sorted(places, reverse=True)[few:]:
            if time.time() - used > LONG:
                _remove(place)


def _remove(place: Path) -> None:
    """Unless somebody holds it. It is gone at once for whoever comes now."""
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
