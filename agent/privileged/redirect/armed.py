"""The process of the proxy for which the redirect was last set to ON, as the hooks of its unit recorded it.

A decision of the agent takes its time: it is made by a reading, and carried out by a request. Meanwhile systemd
may have started the next process, and the hook has set ON for it.
"""

from pathlib import Path
from typing import Final

from agent.core import prepared, procfs
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.system import files

_PROC: Final = Path("/proc")


def since(prefix: Path, moment: float) -> bool:
    """It was proved ready after this moment (CLOCK_MONOTONIC), and runs."""
    path = Host(prefix).prepared / prepared.ARMED
    if not path.exists():
        return False
    try:
        found = prepared.read_armed(files.read(path))
        if found is None or found[2] <= moment:
            return False
        stat = procfs.stat((_PROC / str(found[0]) / "stat").read_text(errors="replace"))
    except (Refusal, OSError, IndexError, ValueError):
        return False
    return stat.state not in "ZX" and stat.start_ticks == found[1]
