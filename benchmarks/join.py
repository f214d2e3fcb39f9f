"""Prints how long `fairlead join` takes from a bare host to Ready, and how many requests the API server got until
then.

    python -m benchmarks.join         (as root, with the real parts and the packages built: make test)

Each host is a booted Debian with the package, beside the sandbox's cluster. The time is that of the command, which
returns once the host is Ready.
"""

import contextlib
import os
import statistics
import time
from collections import Counter

from agent.sandbox.stage.scene import NAME, PORT
from tests.system import mesh as beside_it
from tests.system.host import SUITES, install
from tests.system.mesh import READY
from tests.system.test_join import BUNDLE, bundle

HOSTS = 3
WITHIN = 180.0


def main() -> None:
    if os.geteuid() != 0:
        print("join: left out, because only root can boot a machine")
        return
    found = [joined() for _ in range(HOSTS)]
    seconds = [one[0] for one in found]
    spread = f"least {min(seconds):.2f} s, median {statistics.median(seconds):.2f} s, most {max(seconds):.2f} s"
    print(f"join to Ready, {HOSTS} hosts: {spread}")
    for _, requests in found:
        print(f"  {sum(requests.values())} requests: {', '.join(f'{n} {what}' for what, n in requests.items())}")


def joined() -> tuple[float, Counter[str]]:
    """Seconds, and the requests of the host by method and resource."""
    with beside_it.beside(SUITES[0]) as (machine, mesh):
        install(machine)
        beside_it.entitle(machine, mesh)
        beside_it.install_proxy(machine)
        machine.write(BUNDLE, bundle(mesh, PORT).text)
        before = len(mesh.api.requests)
        began = time.monotonic()
        machine.run("fairlead", "join", BUNDLE, "--yes", within=WITHIN)
        took = time.monotonic() - began
        assert mesh.ready() == READY
        seen = list(mesh.api.requests)[before:]
        return took, Counter(f"{one.method} {resource(one.path)}" for one in seen if NAME in one.user)


def resource(path: str) -> str:
    parts = path.strip("/").split("/")
    with contextlib.suppress(ValueError):
        parts = parts[parts.index("namespaces") + 2 :]
    return "/".join([parts[0], *parts[2:]])


if __name__ == "__main__":
    main()
