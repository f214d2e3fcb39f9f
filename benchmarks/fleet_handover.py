"""How long the fleet has no leading watcher after the leader was killed."""

import signal
import statistics
import tempfile
import time
from pathlib import Path

from tests.lab.realparts import ApiServer
from tests.watcher.watching import install, kubeconfig, watcher


async def measure(times: int, seconds: float) -> None:
    """`seconds` is not used: a hand-over takes what it takes."""
    with ApiServer() as server, tempfile.TemporaryDirectory() as folder:
        config = kubeconfig(server, Path(folder) / "config", install(server))
        namespace = server.new_namespace()
        found = [_once(config, namespace, number) for number in range(times)]
    spread = f"median {statistics.median(found):.1f} s, most {max(found):.1f} s"
    print(f"hand-over after the leader was killed, {times} times: {spread}", flush=True)


def _once(config: Path, namespace: str, number: int) -> float:
    with watcher(config, "-n", namespace, name=f"first-{number}") as first:
        first.wait_for(" leads ")
        with watcher(config, "-n", namespace, name=f"second-{number}") as second:
            second.wait_for("serves")
            time.sleep(3 + 0.37 * number)  # another phase of the leader's renewals each time
            first.send(signal.SIGKILL)
            killed = time.monotonic()
            second.wait_for(" leads ")
            return time.monotonic() - killed
