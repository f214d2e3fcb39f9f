"""How often the kernel has killed out of memory in a control group. Each cgroup version has a counter."""

from contextlib import suppress
from pathlib import Path

from agent.core import procfs
from agent.core.proxy_end import oom_kills

ROOT = Path("/sys/fs/cgroup")
Counters = tuple[Path, ...]  # the first that can be read counts


def counters(v2: str, v1: str) -> Counters:
    """By the paths of a control group, from the root of each hierarchy."""
    return (
        ROOT / v2.lstrip("/") / "memory.events",
        ROOT / "memory" / v1.lstrip("/") / "memory.oom_control",
    )


def counters_of(pid: int) -> Counters:
    """Of the control group that a process is in; none where that cannot be told."""
    with suppress(OSError):
        return counters(*procfs.control_groups(Path(f"/proc/{pid}/cgroup").read_text()))
    return ()


def kills(counters: Counters) -> int:
    """0 if no counter can be read: then it is unknown."""
    for path in counters:
        with suppress(OSError):
            return oom_kills(path.read_text())
    return 0
