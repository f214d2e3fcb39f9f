"""How often in a row the proxy has failed to start: counted below its unit's runtime directory, which outlives
each restart, with neither the agent nor D-Bus.

Law: the standard library and `core`.
"""

import json
import random
import sys
import time
from contextlib import suppress
from pathlib import Path

from agent.core import gate
from agent.core.proxy_end import CRASHES, crashes_now
from agent.core.reasons import Fault, Reason

# ENDED is the unit's word on how it last ended.
STARTS, ENDED = "starts", "ended"


def pause(folder: Path) -> None:
    """After a crash, wait; what for is left for the agent meanwhile. What was left before this start is over."""
    crashes = _counted(folder)
    record = Path("/") / gate.RECORD
    record.unlink(missing_ok=True)
    _begin(folder, crashes)
    if crashes > 1:  # after the first, systemd's own RestartSec is enough
        delay = CRASHES.delay(crashes - 2, random.random())  # noqa: S311 - it spreads, and hides nothing
        fault = Fault(Reason.PROXY_CRASHED, f"{crashes} in a row; the next start in {delay:.1f} s")
        print(f"the proxy is not started yet: {fault.detail}", file=sys.stderr, flush=True)
        _write(record, gate.written(fault))
        time.sleep(delay)
        record.unlink(missing_ok=True)


def begin(folder: Path) -> None:
    """Now: how long it lives counts from here."""
    _begin(folder, _crashes(folder))


def _begin(folder: Path, crashes: int) -> None:
    _write(folder / STARTS, json.dumps({"crashes": crashes, "began": _uptime()}))


def _counted(folder: Path) -> int:
    """How many starts in a row have failed, that which has just ended among them."""
    ended = folder / ENDED
    with suppress(OSError, ValueError, KeyError, TypeError):
        before = json.loads((folder / STARTS).read_text())
        at, result, *_ = ended.read_text().split()
        ended.unlink()
        return crashes_now(int(before["crashes"]), result, float(at) - float(before["began"]))
    return _crashes(folder)


def _crashes(folder: Path) -> int:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads((folder / STARTS).read_text())["crashes"])
    return 0


def _uptime() -> float:
    """Seconds since boot: as /proc/uptime counts them, so that no clock that jumps makes a proxy old."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _write(path: Path, text: str) -> None:
    with suppress(OSError):  # a count that cannot be kept costs no start
        fresh = path.with_name(f".{path.name}")
        fresh.write_text(f"{text}\n")
        fresh.replace(path)
