"""How often in a row the proxy has failed to start: a record below its unit's runtime directory, which outlives
each restart, without the agent and D-Bus. How it ended is recorded by root (`agent.proxyunit.ended`).

Law: as `proxyunit.start`; the pause after a crash is `failed_starts`.
"""

import time
from contextlib import suppress
from pathlib import Path

from agent.core import crashes
from agent.host import reading

STARTS = "starts"
MOST = 4096  # bytes of each


def counted(folder: Path, ended: Path) -> int:
    """Those among them which have ended since. An end from before the last start was counted then."""
    before, began = _recorded(folder)
    return before if began is None else crashes.counted(before, began, _ends(ended))


def begin(folder: Path, count: int) -> None:
    """Now: its lifetime counts from here, in seconds since boot, which a clock that jumps does not change."""
    write(folder / STARTS, crashes.written(count, time.clock_gettime(time.CLOCK_BOOTTIME)))


def ended_as(path: Path) -> crashes.End | None:
    """The last one. None: it is not known."""
    return next(reversed(_ends(path)), None)


def _ends(path: Path) -> list[crashes.End]:
    try:
        return crashes.read_ends(reading.text(path, MOST))
    except OSError:
        return []


def _recorded(folder: Path) -> tuple[int, float | None]:
    with suppress(OSError):
        found = crashes.read(reading.text(folder / STARTS, MOST))
        if found is not None:
            return found
    return 0, None


def write(path: Path, text: str) -> None:
    with suppress(OSError):  # a count that cannot be written does not prevent a start
        fresh = path.with_name(f".{path.name}")
        reading.discard(fresh)
        if path.is_dir():
            reading.discard(path)
        with fresh.open("x") as file:
            file.write(text)
        fresh.replace(path)
