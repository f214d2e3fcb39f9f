"""Becomes linkerd2-proxy: what fairlead-proxy.service runs, as the proxy's own user and inside its sandbox.

    python -S -P -m agent.launcher pause    before the gate: waits after a crash, longer each time
    python -S -P -m agent.launcher          becomes the proxy

An environment is code, so nobody but root has a say in it: it is built from root-owned files, and nothing of this
process's own environment is handed on. Exit codes are those of the proxy: 64 its configuration is refused, 1 it
cannot be set up.

Law: the standard library, `core`, `config`, `values`, and what the door reads root's files by.
"""

import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent import values
from agent.core import gate, proxy
from agent.core.proxy_end import CRASHES, crashes_now
from agent.core.reasons import Fault, Reason
from agent.privileged import Refusal, files, policy

REFUSED, FAILED = 64, 1
# Below the unit's runtime directory, which outlives each restart. ENDED is the unit's word on how it last ended.
STARTS, ENDED = "starts", "ended"


@dataclass(frozen=True)
class Launch:
    binary: str
    environment: Mapping[str, str]
    uid: int


def plan(prefix: Path) -> Launch:
    """What would be started now. Raises Refusal, proxy.Refused, OSError, KeyError (no such user)."""
    config = policy.configuration(prefix)
    uid, _ = values.proxy_owner(config)
    anchors = _anchors(values.anchors_in_force(config, prefix), config.identity.anchors_follow)
    settings = values.proxy_settings(config, str(prefix))
    return Launch(values.proxy_binary(config, str(prefix)), proxy.environment(settings, anchors), uid)


def _anchors(places: Sequence[Path], follow: bool) -> str:
    """The first that is there: root's own, or the agent's where root has said that it counts. Raises Refusal."""
    found = next((path for path in places if path.exists()), places[-1])
    return files.read(found) if found is places[-1] or not follow else found.read_text()


def become(prefix: Path, folder: Path) -> int:
    try:
        found = plan(prefix)
        if os.getuid() != found.uid:
            cause = f"this is uid {os.getuid()}, and proxy.user is {found.uid}; set User= of the unit by a drop-in"
            return _say(REFUSED, cause)
        _write(folder / STARTS, json.dumps({"crashes": _crashes(folder), "began": _uptime()}))
        os.execve(found.binary, [found.binary], dict(found.environment))  # noqa: S606 - no shell is wanted
    except (Refusal, proxy.Refused) as error:
        return _say(REFUSED, str(error))
    except KeyError:
        return _say(REFUSED, "proxy.user names nobody on this host")
    except OSError as error:
        return _say(FAILED, f"{error.filename or ''}: {error.strerror}")


def _say(code: int, cause: str) -> int:
    print(f"cannot start the proxy: {cause}", file=sys.stderr, flush=True)
    return code


# crash loops ---------------------------------------------------------------------------------------


def pause(folder: Path) -> int:
    """After a crash, wait; what for is left for the agent."""
    crashes = _counted(folder)
    _write(folder / STARTS, json.dumps({"crashes": crashes, "began": _uptime()}))
    if crashes > 1:  # after the first, systemd's own RestartSec is enough
        delay = CRASHES.delay(crashes - 2, random.random())  # noqa: S311 - it spreads, and hides nothing
        fault = Fault(Reason.PROXY_CRASHED, f"{crashes} in a row; the next start in {delay:.1f} s")
        print(f"the proxy is not started yet: {fault.detail}", file=sys.stderr, flush=True)
        _write(Path("/") / gate.RECORD, gate.written(fault))
        time.sleep(delay)
    return 0


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


def main(arguments: Sequence[str], prefix: Path = Path("/")) -> int:
    folder = Path(os.environ.get("RUNTIME_DIRECTORY", "/run/fairlead-proxy"))
    match arguments:
        case []:
            return become(prefix, folder)
        case ["pause"]:
            return pause(folder)
    print("usage: python -m agent.launcher [pause]", file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
