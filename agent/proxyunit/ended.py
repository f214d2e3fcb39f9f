"""What the proxy's unit runs as root after each end of the proxy, however it ended: the failure policy, and the
record for the next start.

    python -IS -m agent.proxyunit.ended

The prepared rules of the policy where they hold, else all of `agent.proxyunit.hooks failed`. What a restart does
not look at (sshd's ports, the firewall of others, the self-test) was looked at when the rules were applied.
"""

import os
import sys
import time

from agent.core.prepared import ASKED, ENDED, FAILED, STOPPED
from agent.proxyunit import prepared


def main(prefix: str = "/") -> int:
    os.umask(0o022)
    plan = prepared.plan(prefix)
    done = plan is not None and prepared.load(prefix, plan, FAILED)
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    how = " ".join(os.environ.get(name, "") for name in ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"))
    if prepared.take(prefix, ASKED) and how.startswith("success "):
        how = STOPPED
    prepared.record(prefix, ENDED, f"{up:.6f} {how}\n")
    if plan is None or not done:
        return prepared.tested_path(prefix, ["failed"])
    print(f"the proxy has ended: {plan.effect} (prepared)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
