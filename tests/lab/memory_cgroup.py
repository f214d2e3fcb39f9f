"""Control groups with little memory, in the cgroup version that counts memory in this kernel."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
V1 = ROOT / "memory"


@contextmanager
def group(most: int) -> Iterator[Path]:
    """One of its own with at most so many bytes; the folder that it is. At the end it must be empty."""
    old = V1.is_dir()
    made = (V1 if old else ROOT) / f"fl-{secrets.token_hex(4)}"
    made.mkdir()
    try:
        (made / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(most))
        yield made
    finally:
        _remove(made)


def _remove(made: Path) -> None:
    """The kernel releases dead processes a moment later."""
    end = time.monotonic() + 30
    while True:
        try:
            return made.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.02)
