"""The pause before a start of the proxy, after it has crashed repeatedly, and its last exit reason, which is kept
for the agent below the unit's runtime directory.

How it ended is written by root (`agent.proxyunit.ended`); the rest by the proxy's user.

Law: the standard library and `core`.
"""

import random
import sys
import time
from contextlib import suppress
from pathlib import Path

from agent.core import gate_record
from agent.core.proxy_end import CRASHES, ended_fault
from agent.core.reasons import Fault, Reason
from agent.host import Host, reading
from agent.proxyunit import crash_count

_RECORD = Host().gate.name
# What the launcher records: more exact than its exit code.
_OF_THE_LAUNCHER = frozenset(
    {Reason.PROXY_BINARY_UNUSABLE, Reason.PROXY_CONFIGURATION_REFUSED, Reason.PROXY_FAILED_TO_START}
)


def pause(folder: Path, ended: Path) -> int:
    """After a crash, wait; the reason is recorded for the agent. Records from before this start are removed.
    `ended`: root's record of how it last ended. Return how many starts in a row have failed."""
    said, crashes = _recorded(folder), crash_count.counted(folder, ended)
    reading.discard(folder / _RECORD)
    crash_count.begin(folder, crashes)
    if crashes > 1:  # the first is followed by a start at once
        delay = CRASHES.delay(crashes - 2, random.random())  # noqa: S311 - jitter, not a secret
        last = said or _ended(ended)
        note = f"{crashes} in a row; the next start in {delay:.1f} s"
        fault = Fault(last.reason, f"{last.detail}; {note}" if last.detail else note)
        print(f"the proxy is not started yet: {fault.detail}", file=sys.stderr, flush=True)
        record(folder, fault)
        time.sleep(delay)
        reading.discard(folder / _RECORD)
    return crashes


def record(folder: Path, fault: Fault) -> None:
    """Leave it for the agent; the gate removes it when it opens."""
    crash_count.write(folder / _RECORD, gate_record.written(fault))


def _recorded(folder: Path) -> Fault | None:
    """What the launcher recorded of the previous end."""
    with suppress(OSError):
        fault = gate_record.read(reading.text(folder / _RECORD, gate_record.MOST))
        if fault is not None and fault.reason in _OF_THE_LAUNCHER:
            return Fault(fault.reason, fault.detail.split("; ")[0])
    return None


def _ended(path: Path) -> Fault:
    found = crash_count.ended_as(path)
    return ended_fault(*found[1:]) if found is not None else Fault(Reason.PROXY_CRASHED)
