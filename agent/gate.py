"""What stands before each start of the proxy in fairlead-proxy.service, as the proxy's own user: the pause after a
crash, then the wait for an SVID.

    python -IS -m agent.gate

One program, and no more of fairlead than it needs: while this loads, a host whose proxy died has none.
Exit code: 0 there is an SVID; 64 root's configuration cannot be used.
"""

import math
import os
import sys
from pathlib import Path

from agent import starts
from agent.offline import identity


def main() -> int:
    starts.pause(Path(os.environ["RUNTIME_DIRECTORY"]))
    try:
        wanted = identity.gate_of("")
    except identity.Unconfigured as error:
        print(f"cannot pass the gate: {error}", file=sys.stderr)
        return identity.CONFIG
    return identity.pass_gate(wanted, math.inf)


if __name__ == "__main__":
    sys.exit(main())
