"""Prints how long `fairlead enrol` takes, and how many requests it sends, on a real kube-apiserver.

    python -m benchmarks.enrol        (with the real API server built: make test)

The time is that of the command in a process of its own, as an operator waits for it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.operator import POD_NETWORK, Operator, new_address
from tests.lab.realparts import ApiServer

HOSTS = 5


def main() -> None:
    with ApiServer() as server, tempfile.TemporaryDirectory() as folder:
        operator = Operator(server, Path(folder))
        operator.install_linkerd()
        first = [enrolled(operator, f"db-{number}", new_address()) for number in range(HOSTS)]
        again = [enrolled(operator, f"db-{number}") for number in range(HOSTS)]
    for name, found in (("enrol", first), ("enrol again", again)):
        seconds, requests = [one[0] for one in found], {one[1] for one in found}
        spread = (
            f"least {min(seconds):.2f} s, median {statistics.median(seconds):.2f} s, most {max(seconds):.2f} s"
        )
        print(f"{name}, {HOSTS} hosts: {spread}; {' or '.join(map(str, sorted(requests)))} requests")


def enrolled(operator: Operator, name: str, address: str = "") -> tuple[float, int]:
    """Seconds and requests."""
    words = ("enrol", name, "-n", operator.namespace, "--kubeconfig", str(operator.kubeconfig), "-o", "json")
    where = ("--api-server", operator.server.url, "--linkerd-namespace", operator.namespace)
    bundle = ("--pod-network", POD_NETWORK, "--bundle", str(operator.bundle(name)))
    host = ("--address", address, "--identity", operator.identity_of(name), "--port", "5432") if address else ()
    command = [sys.executable, "-m", "agent", *words, *where, *bundle, *host]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    return time.monotonic() - began, int(json.loads(done.stdout)["requests"])


if __name__ == "__main__":
    main()
