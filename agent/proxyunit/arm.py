"""What the proxy's unit runs as root after the start of the proxy: ON, once the proxy is proved ready.

    python -IS -m agent.proxyunit.arm

By the prepared rules where they hold, else by all of `agent.proxyunit.hooks arm`. Both judge by
`privileged.proxy.readiness`. Exit codes as those of `hooks`.
"""

import os
import sys
import time

from agent.core import prepared as forms
from agent.core.prepared import Plan
from agent.proxyunit import prepared


def main(prefix: str = "/") -> int:
    os.umask(0o022)
    plan, pid = prepared.plan(prefix), int(os.environ["MAINPID"])
    if plan is None or not prepared.has_rules(plan):
        return prepared.tested_path(prefix, ["arm"])
    from agent.proxyunit import proof  # while the proxy starts

    if not proof.ready(pid, proof.of(plan)):
        print("the proxy ended before it was ready, or is not ready yet", file=sys.stderr)
        return 1
    at_once = not plan.controller or proof.answered(pid, proof.of(plan), plan.controller, 0.0)
    if not _set(prefix, plan, forms.ON if at_once else forms.WAITING, pid):
        return prepared.tested_path(prefix, ["arm"])
    # Outbound waits for the policy controller; a running agent sets it then.
    if at_once or not proof.answered(pid, proof.of(plan), plan.controller):
        return 0
    return 0 if _set(prefix, plan, forms.ON, pid) else prepared.tested_path(prefix, ["arm"])


def _set(prefix: str, plan: Plan, script: str, pid: int) -> bool:
    """False: nothing was set. The owners of the listeners are read again just before."""
    from agent.proxyunit import proof

    now = time.monotonic()
    if not proof.listens(proof.of(plan)) or not prepared.load(prefix, plan, script):
        return False
    proof.record(prefix, pid, now)
    outbound = "" if script == forms.ON else ", and outbound waits for the policy controller"
    print(f"the proxy is ready: the redirect is ON{outbound} (prepared)", flush=True)
    return True


def without_tls() -> None:
    """For the whole program, which speaks none: `http.client` does without, and is loaded in half the time."""
    sys.modules["ssl"] = None  # type: ignore[assignment]  # an import of it fails from now on


if __name__ == "__main__":
    without_tls()
    sys.exit(main())
