"""What the running agent holds, against tests/budgets.py.

A row fails on each module of a library that is not in the list, because what is added costs memory on every host.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from agent.core.reasons import Reason
from agent.sandbox.stage.scene import PORT, Scene
from agent.sandbox.stage.tour import until
from tests import budgets
from tests.budgets import LIBRARIES
from tests.host.scenario import scenario

# structlog and the interpreter take these where they are installed; the package has none of them.
FOR_DEVELOPERS = {"_distutils_hack", "attr", "pygments", "rich", "typing_extensions"}
PARTS_OF_BUILDS = ("_cython_", "cython_", "__editable__")  # what yarl's compiled parts leave; a checkout
OF_ASYNCIO = ("asyncio_", "asyncio-waitpid-")  # its pool for what blocks, such as files; one for each child

HEALTH = f'[[probe]]\nname = "health"\nkind = "grpc"\nport = {PORT}\nperiod = 1\n'


@scenario(extra=HEALTH)
async def what_the_running_agent_holds(scene: Scene) -> None:
    """With X.509-SVID, JWT-SVID, and a probe over each of HTTP and gRPC."""
    file = scene.base / "resident.json"
    await scene.start_app()
    await scene.start_agent(sys.executable, "-m", "tests.host.resident", str(file))
    await until(scene, lambda s: s["facts"]["identity"] != "unknown", "an identity")
    await until(scene, lambda s: any(p["reason"] == Reason.PROBE_FAILING.value for p in s["problems"]), "a probe")
    held = await _held(scene, file)
    found = set(_libraries(held["modules"]))
    assert found - FOR_DEVELOPERS == LIBRARIES.keys(), (found - LIBRARIES.keys(), LIBRARIES.keys() - found)
    others = [name for name in held["threads"] if not name.startswith(OF_ASYNCIO)]
    assert others == ["MainThread"], others
    own = [name for name in held["modules"] if name.partition(".")[0] == "agent"]
    budgets.AGENT_MODULES.check(len(own), "modules of the agent's own")
    budgets.AGENT_THREADS.check(len(held["threads"]), "threads")
    budgets.AGENT_DESCRIPTORS.check(len(held["descriptors"]), "descriptors")


async def _held(scene: Scene, file: Path) -> dict[str, list[str]]:
    assert scene.agent is not None
    scene.agent.send_signal(signal.SIGUSR2)
    return await asyncio.to_thread(_read, file)


def _read(file: Path) -> dict[str, list[str]]:
    while not file.exists():
        time.sleep(0.05)
    held: dict[str, list[str]] = json.loads(file.read_text())
    return held


def _libraries(modules: Iterable[str]) -> Iterable[str]:
    for module in modules:
        name = module.partition(".")[0]
        own = name in {*sys.stdlib_module_names, "__main__", "agent", "tests"}
        if not own and not name.startswith(PARTS_OF_BUILDS):
            yield name
