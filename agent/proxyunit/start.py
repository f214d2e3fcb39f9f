"""What fairlead-proxy.service runs as the proxy, as the proxy's own user and inside its sandbox.

    python -IS -m agent.proxyunit.start [standby]

Becomes the proxy. By the plan of its launch, where that holds and nothing keeps it waiting (`at_once`): the
environment that was built from root's files when the redirect was applied, while each of them is the same. Else by
all of `gate`, which pauses after a crash and waits for an identity, and of `launcher`, which builds the
environment again, says what is wrong, and has the exit codes.

With `standby` it is the unit of the second slot, which always takes the second way and waits for an identity no
longer than an upgrade waits for it.

Until then the process is named prepared.STARTING: to the agent, no proxy runs.
"""

import gc
import os
import sys
from contextlib import suppress

from agent.core.prepared import STARTING
from agent.proxyunit import prepared

STANDBY_WITHIN = "60"  # seconds


def main(prefix: str = "/", *, standby: bool = False) -> int:
    """Returns only where it fails."""
    _name(STARTING)
    gc.disable()  # nothing that is loaded until this becomes the proxy is garbage
    folder = os.environ.get("RUNTIME_DIRECTORY", "/run/fairlead-proxy")
    if standby:
        return _standby(prefix, folder)
    plan = prepared.plan(prefix)
    if plan is not None and plan.binary and plan.uid == os.getuid():
        from pathlib import Path

        from agent.proxyunit import at_once

        if at_once.passes(prefix, plan, Path(folder)):
            with suppress(OSError):  # the launcher finds the same, and reports it
                os.execve(plan.binary, [plan.binary], plan.environment)  # noqa: S606 - no shell is wanted
    return _tested_path(prefix, folder)


def _name(name: str) -> None:
    """Of this process; the next program that it executes has its own."""
    with suppress(OSError):
        descriptor = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, name.encode())
        os.close(descriptor)


def _tested_path(prefix: str, folder: str) -> int:
    gc.enable()  # the gate may wait for long
    from pathlib import Path

    from agent.offline.gate import OPEN
    from agent.proxyunit import gate, launcher

    code = gate.wait(prefix, Path(folder))
    return launcher.become(Path(prefix), Path(folder)) if code == OPEN else code


def _standby(prefix: str, folder: str) -> int:
    from pathlib import Path

    from agent.core.slots import Slot
    from agent.host import secrecy
    from agent.offline.gate import OPEN
    from agent.proxyunit import gate, launcher

    secrecy.no_core_files()
    code = gate.main(["--prefix", prefix, "--within", STANDBY_WITHIN])
    return launcher.become(Path(prefix), Path(folder), Slot.STANDBY) if code == OPEN else code


if __name__ == "__main__":
    sys.exit(main(standby=sys.argv[1:] == ["standby"]))
