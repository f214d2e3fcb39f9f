"""How much memory the host has left, and how much a process takes."""

import re
from pathlib import Path

_LEFT = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)
_TAKEN = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


def left_and_taken(pid: int) -> tuple[int, int]:
    """In bytes; 0 where it cannot be read."""
    return _bytes(Path("/proc/meminfo"), _LEFT), _bytes(Path(f"/proc/{pid}/status"), _TAKEN)


def left_and_largest_of(uid: int) -> tuple[int, int]:
    """The same, of the largest process of that user."""
    mine = (entry / "status" for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _is_of(entry, uid))
    return _bytes(Path("/proc/meminfo"), _LEFT), max((_bytes(path, _TAKEN) for path in mine), default=0)


def _is_of(entry: Path, uid: int) -> bool:
    try:
        return entry.stat().st_uid == uid
    except OSError:  # it has ended
        return False


def _bytes(path: Path, pattern: re.Pattern[str]) -> int:
    try:
        found = pattern.search(path.read_text())
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0
