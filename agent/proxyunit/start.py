"""What fairlead-proxy.service runs as the proxy, as the proxy's own user and inside its sandbox.

    python -IS -m agent.proxyunit.start

Becomes the proxy by the plan of its launch, where that holds: the environment that was built from root's files
when the redirect was applied, while each of them is the same. Else all of `agent.proxyunit.launcher`, which builds
it again, says what is wrong, and has the exit codes.
"""

import os
import sys
from contextlib import suppress

from agent.proxyunit import prepared


def main(prefix: str = "/") -> int:
    """Returns only where it fails."""
    plan = prepared.plan(prefix)
    if plan is not None and plan.binary and plan.uid == os.getuid():
        with suppress(OSError):  # the launcher finds the same, and reports it
            os.execve(plan.binary, [plan.binary], plan.environment)  # noqa: S606 - no shell is wanted
    from agent.proxyunit import launcher

    return launcher.main([])


if __name__ == "__main__":
    sys.exit(main())
