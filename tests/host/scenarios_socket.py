"""Scenarios in which the agent's sockets get requests of every kind."""

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path

from agent.sandbox.stage.scene import Scene
from agent.sandbox.stage.tour import until
from tests.host.scenario import calm, descriptors, no_more_descriptors, scenario, started

READER, READERS = 2109, 2101
CASES, OF_ROOT = 20, 5  # of each operation, each way; a change of the phase takes a second
REQUESTS = 5_000  # of each user
GROWTH = 12.0  # MiB: an object of 1 KiB for each request would be 10
PUSHED = '[[probe]]\nname = "beat"\nkind = "push"\nttl = 3600\n'


@scenario(longest=200.0, extra=PUSHED)  # on a busy machine; alone it takes less than 30 s
async def requests_of_every_kind(scene: Scene) -> None:
    """10,000 of them, of root and of a member of the group fairlead: each is answered as docs/openapi.json says,
    none by an error of the server, and nothing is held afterwards."""
    await started(scene)
    await until(scene, lambda s: s["goals"]["proxy"] != "unknown", "an agent that answers")
    await _beat(scene)
    for path in (_status(scene), _pushes(scene)):
        os.chown(path, 0, READERS)
        path.parent.chmod(0o755)  # as the package has it
    for page in ("/metrics", "/metrics/all"):
        await scene.read_on_host(
            "curl", "--silent", "--unix-socket", str(_status(scene)), f"http://localhost{page}"
        )
    open_before, held_before = descriptors(scene), resident(scene)
    reader = ("setpriv", f"--reuid={READER}", f"--regid={READERS}", "--clear-groups")
    answers, of_root = await asyncio.gather(_asked(scene, CASES, *reader), _asked(scene, OF_ROOT))
    assert answers.keys() >= {"200", "403", "404"} and answers["403"] > 100, answers
    assert of_root.keys() >= {"200", "400", "404"} and "403" not in of_root, of_root
    assert (answers + of_root).total() == 2 * REQUESTS
    await no_more_descriptors(scene, open_before)
    assert resident(scene) - held_before < GROWTH, (held_before, resident(scene))
    await calm(scene)


def _status(scene: Scene) -> Path:
    return scene.prefix / "run/fairlead/fairlead.sock"


def _pushes(scene: Scene) -> Path:
    return scene.prefix / "run/fairlead-push/push.sock"


async def _beat(scene: Scene) -> None:
    code, said = await scene.cli("probe", "push", "beat")
    assert code == 0, said


async def _asked(scene: Scene, cases: int, *user: str) -> "Counter[str]":
    paths = map(str, (_status(scene), _pushes(scene)))
    program = (sys.executable, "-m", "tests.host.socket_requests", *paths, "beat", str(cases), str(REQUESTS))
    asking = await asyncio.create_subprocess_exec(
        *user, *program, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    said, _ = await asking.communicate()
    assert asking.returncode == 0
    return Counter(json.loads(said))


def resident(scene: Scene) -> float:
    """MiB of the agent."""
    assert scene.agent is not None
    pages = int(Path(f"/proc/{scene.agent.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
