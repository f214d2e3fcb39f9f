"""The attacked program, which must neither wait nor take memory without an end."""

import os
import resource
import subprocess
import sys
from typing import Final

WITHIN: Final = 30.0  # seconds; what must hold at once, and never held on an old version
MEMORY: Final = 1 << 30  # bytes; a reader of something without an end takes more


def run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Python text. Raises subprocess.TimeoutExpired."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=WITHIN,
        env={**os.environ},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
