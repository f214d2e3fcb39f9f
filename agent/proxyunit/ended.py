"""What the proxy's unit runs as root after each end of the proxy, however it ended: the failure policy, and the
record for the next start.

    python -IS -m agent.proxyunit.ended

The prepared rules of the policy where they hold, else all of `agent.proxyunit.hooks failed`. What a restart does
not look at (sshd's ports, the firewall of others, the self-test) was looked at when the rules were applied.

Where the proxy has ended oftener than its start program allows, that one did not come to pause, and this one does.

Exit code: 0 done, 69 not done; for any other one the unit pauses before the next start.
"""

import os
import sys
import time

from agent.core.prepared import ASKED, ENDED, FAILED, STOPPED, too_often, with_end
from agent.proxyunit import prepared

_NOT_DONE = 69
_PAUSE = 1.0  # seconds


def main(prefix: str = "/") -> int:
    os.umask(0o022)
    plan = prepared.plan(prefix)
    done = plan is not None and prepared.load(prefix, plan, FAILED)
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    how = " ".join(os.environ.get(name, "") for name in ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"))
    if prepared.take(prefix, ASKED) and how.startswith("success "):
        how = STOPPED
    ends = with_end(prepared.recorded(prefix, ENDED), f"{up:.6f} {how}")
    prepared.record(prefix, ENDED, ends)
    if plan is not None and done:
        print(f"the proxy has ended: {plan.effect} (prepared)", flush=True)
    else:
        done = prepared.tested_path(prefix, ["failed"]) == 0
    if too_often(ends):
        time.sleep(_PAUSE)
    return 0 if done else _NOT_DONE


if __name__ == "__main__":
    sys.exit(main())
