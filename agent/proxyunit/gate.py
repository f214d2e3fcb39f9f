"""What runs before each start of the proxy in fairlead-proxy.service, as the proxy's own user: the pause after a
crash, then the wait until it can be started.

    python -IS -m agent.proxyunit.gate [--prefix DIR] [--within SECONDS]

With --within there is no pause, and it waits no longer: 0 is one check. It is one program and imports little:
while it loads, a host whose proxy died has none. Exit code: 0 it can be started; 64 root's configuration cannot be
used; 69 it cannot be started so far.
"""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.core.prepared import ENDED
from agent.host import Host, secrecy
from agent.offline import gate, identity
from agent.proxyunit import failed_starts


def main(arguments: Sequence[str]) -> int:
    prefix, within = "", math.inf
    folder: Path | None = None
    match arguments:
        case []:
            folder = Path(os.environ["RUNTIME_DIRECTORY"])
            failed_starts.pause(folder, Host().prepared / ENDED)
        case ["--within", seconds]:
            within = float(seconds)
        case ["--prefix", prefix, "--within", seconds]:
            within = float(seconds)
        case _:
            print("usage: python -m agent.proxyunit.gate [--prefix DIR] [--within SECONDS]", file=sys.stderr)
            return gate.CONFIG
    try:
        code = gate.pass_gate(lambda: gate.gate_of(prefix, keep=True), within)
    except identity.Unconfigured as error:
        print(f"cannot pass the gate: {error}", file=sys.stderr)
        return gate.CONFIG
    if folder is not None and code == gate.OPEN:
        failed_starts.begin(folder)
    return code


if __name__ == "__main__":
    secrecy.no_core_files()  # the Workload API gives it the proxy's key
    sys.exit(main(sys.argv[1:]))
