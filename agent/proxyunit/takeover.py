"""What fairlead-takeover.service runs as root while the second slot's proxy runs: when the proxy of main dies, new
connections go to that one.

    python -IS -m agent.proxyunit.takeover

It waits for the process of main and does nothing else, whether the agent runs or not. At the end of main it loads
the rules that root has prepared and tested, before main's unit applies the failure policy: that finds another slot
named and does nothing. What is not prepared, and a standby that is not proved ready, is never used.
"""

import os
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from agent.core import prepared as forms
from agent.core import procfs
from agent.core.slots import Slot
from agent.proxyunit import prepared

AGAIN = 0.5  # seconds until main is looked for again
TRIES, SOON = 100, 0.01  # seconds between two of them


def main(prefix: str = "/") -> NoReturn:
    """Never returns: its unit ends with the standby's."""
    os.umask(0o022)
    from agent.proxyunit import proof  # while the proxy starts

    proved = False
    while True:
        plan = prepared.plan(prefix)
        proved = proved or (plan is not None and proof.stands_by(plan))
        served = _main_of(prefix) if proved and plan is not None and plan.standby else None
        if served is None:
            time.sleep(AGAIN)
            continue
        try:
            select.select([served], [], [])
        finally:
            os.close(served)
        _take_over(prefix)


def _main_of(prefix: str) -> int | None:
    """A pidfd of the process for which the redirect is ON; None: there is none."""
    with suppress(OSError, ValueError, IndexError):
        armed = forms.read_armed(Path(prepared.folder(prefix), forms.ARMED).read_text())
        if armed is None:
            return None
        pidfd = os.pidfd_open(armed[0])
        if procfs.stat(Path(f"/proc/{armed[0]}/stat").read_text(errors="replace")).start_ticks == armed[1]:
            return pidfd
        os.close(pidfd)
    return None


def _take_over(prefix: str) -> None:
    """By the plan as it is now: it does not hold while the redirect names this slot already."""
    from agent.proxyunit import proof

    began = time.monotonic()
    for _ in range(TRIES):
        plan = prepared.plan(prefix)
        if plan is None or not plan.standby or not proof.listens(proof.of_standby(plan)):
            return
        if prepared.load(prefix, plan, forms.STANDBY, Slot.STANDBY.value):
            took = (time.monotonic() - began) * 1000
            print(f"the proxy has ended: new connections go to the second slot ({took:.0f} ms)", flush=True)
            return
        time.sleep(SOON)  # another process sets rules now: the failure policy, where it was faster


if __name__ == "__main__":
    main()
