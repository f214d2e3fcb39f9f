"""What keeps a start of the proxy waiting, as the proxy's own user: the pause after a crash, and the gate.

    python -IS -m agent.proxyunit.gate --prefix DIR --within SECONDS

This way a proxy without systemd is started: there is no pause, and it waits no longer; 0 is one check. Exit code:
0 it can be started; 64 root's configuration cannot be used; 69 it cannot be started so far.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.core.crashes import CLOSED_AT_BOOT
from agent.core.prepared import ENDED
from agent.host import Host, secrecy
from agent.offline import gate, identity
from agent.privileged.system import programs
from agent.proxyunit import crash_count, failed_starts

_AT_BOOT = 5.0  # seconds
_BOOTED = "booted"
_BOOTING = ("initializing", "starting")  # as systemctl names it


def wait(prefix: str, folder: Path) -> int:
    """Without limit after the boot. A waiting job keeps systemd from finishing the boot: so while the host boots,
    a closed gate ends the start (CLOSED_AT_BOOT), and the agent asks again. `folder`: the unit's runtime
    directory."""
    count = failed_starts.pause(folder, Host.below(prefix).prepared / ENDED)
    secrecy.no_core_files()
    booted = _has_booted(folder)
    code = _passed(prefix, math.inf if booted else _AT_BOOT)
    if code != gate.OPEN and not booted:
        return CLOSED_AT_BOOT
    if code == gate.OPEN:
        crash_count.begin(folder, count)
    return code


def _has_booted(folder: Path) -> bool:
    """A file records the end of the boot, so that systemd is not asked again."""
    if (folder / _BOOTED).exists():
        return True
    program = programs.find("systemctl")
    if program is not None and programs.run(program, "is-system-running").stdout.strip() in _BOOTING:
        return False
    crash_count.write(folder / _BOOTED, "")
    return True


def _passed(prefix: str, within: float) -> int:
    try:
        return gate.pass_gate(lambda: gate.gate_of(prefix, keep=True), within)
    except identity.Unconfigured as error:
        print(f"cannot pass the gate: {error}", file=sys.stderr, flush=True)
        return gate.CONFIG


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["--prefix", prefix, "--within", seconds]:
            return _passed(prefix, float(seconds))
    print("usage: python -m agent.proxyunit.gate --prefix DIR --within SECONDS", file=sys.stderr)
    return gate.CONFIG


if __name__ == "__main__":
    secrecy.no_core_files()  # the Workload API gives it the proxy's key
    sys.exit(main(sys.argv[1:]))
