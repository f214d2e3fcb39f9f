"""How often in a row the proxy has failed to start, and its last exit reason: kept below its unit's runtime
directory, which outlives each restart, without the agent and D-Bus.

How it ended is written by root (`agent.proxyunit.ended`); the rest by the proxy's user.

Law: the standard library and `core`.
"""

import json
import random
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.core import gate_record
from agent.core.proxy_end import CRASHES, crashes_now, exit_fault
from agent.core.reasons import Fault, Reason
from agent.host import Host, reading

STARTS = "starts"
_MOST = 4096  # bytes of each
_RECORD = Host().gate.name
# What the launcher records: more exact than its exit code.
_OF_THE_LAUNCHER = frozenset(
    {Reason.PROXY_BINARY_UNUSABLE, Reason.PROXY_CONFIGURATION_REFUSED, Reason.PROXY_FAILED_TO_START}
)


@dataclass(frozen=True)
class _End:
    """`at`: seconds since boot."""

    at: float
    result: str
    fault: Fault


def pause(folder: Path, ended: Path) -> None:
    """After a crash, wait; the reason is recorded for the agent. Records from before this start are removed.
    `ended`: root's record of how it last ended."""
    end, said = _ended(ended), _recorded(folder)
    crashes = _counted(folder, end)
    reading.discard(folder / _RECORD)
    _begin(folder, crashes)
    if crashes > 1:  # the first is followed by a start at once
        delay = CRASHES.delay(crashes - 2, random.random())  # noqa: S311 - jitter, not a secret
        last = said or (end.fault if end is not None else Fault(Reason.PROXY_CRASHED))
        note = f"{crashes} in a row; the next start in {delay:.1f} s"
        fault = Fault(last.reason, f"{last.detail}; {note}" if last.detail else note)
        print(f"the proxy is not started yet: {fault.detail}", file=sys.stderr, flush=True)
        record(folder, fault)
        time.sleep(delay)
        reading.discard(folder / _RECORD)


def begin(folder: Path) -> None:
    """Now: its lifetime counts from here."""
    _begin(folder, _crashes(folder))


def record(folder: Path, fault: Fault) -> None:
    """Leave it for the agent; the gate removes it when it opens."""
    _write(folder / _RECORD, gate_record.written(fault))


def _recorded(folder: Path) -> Fault | None:
    """What the launcher recorded of the previous end."""
    with suppress(OSError):
        fault = gate_record.read(reading.text(folder / _RECORD, gate_record.MOST))
        if fault is not None and fault.reason in _OF_THE_LAUNCHER:
            return Fault(fault.reason, fault.detail.split("; ")[0])
    return None


def _begin(folder: Path, crashes: int) -> None:
    _write(folder / STARTS, json.dumps({"crashes": crashes, "began": _uptime()}))


def _ended(path: Path) -> _End | None:
    """How it has ended; None: it is not known."""
    try:
        at, result, *how = reading.text(path, _MOST).split()
        return _End(float(at), result, _fault(result, *how[:2]))
    except (OSError, ValueError):
        return None


def _fault(result: str, code: str = "", status: str = "") -> Fault:
    """By $SERVICE_RESULT, $EXIT_CODE and $EXIT_STATUS of systemd."""
    if result == "oom-kill":
        return exit_fault(-signal.SIGKILL, out_of_memory=True)
    with suppress(ValueError, KeyError):
        fault = exit_fault(int(status) if code == "exited" else -signal.Signals[f"SIG{status}"])
        return fault if fault.reason is not Reason.PROXY_STOPPED else Fault(Reason.PROXY_CRASHED, "exit 0")
    return Fault(Reason.PROXY_CRASHED)


def _counted(folder: Path, end: _End | None) -> int:
    """How many starts in a row have failed, that which has just ended among them. An end from before the last
    start was counted then."""
    if end is not None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            before = json.loads(reading.read(folder / STARTS, _MOST))
            crashes, uptime = int(before["crashes"]), end.at - float(before["began"])
            return crashes_now(crashes, end.result, uptime) if uptime > 0 else crashes
    return _crashes(folder)


def _crashes(folder: Path) -> int:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads(reading.read(folder / STARTS, _MOST))["crashes"])
    return 0


def _uptime() -> float:
    """Seconds since boot: as /proc/uptime counts them, so that a clock that jumps does not change a proxy's
    age."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _write(path: Path, text: str) -> None:
    with suppress(OSError):  # a count that cannot be written does not prevent a start
        fresh = path.with_name(f".{path.name}")
        reading.discard(fresh)
        if path.is_dir():
            reading.discard(path)
        with fresh.open("x") as file:
            file.write(f"{text}\n")
        fresh.replace(path)
