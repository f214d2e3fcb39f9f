"""A bad day on which no secret may show anywhere: not in good times, not when the API server throws the token
back at us, and not in what an agent leaves that dies by a signal that asks for a core file."""

import resource
import signal

from agent.core.reasons import Reason
from agent.sandbox.api_faults import Answer
from agent.sandbox.scene import TOKEN, Scene
from agent.sandbox.tour import until
from tests.host.days import day, serves, serving
from tests.host.secrets import OUTPUTS, Keys, secrets


@day(svid_ttl=10.0)
async def nothing_secret_is_said(scene: Scene) -> None:
    keys = Keys(scene.ca)
    scene.workload_api.rotate()
    await serving(scene)
    await _nothing_shows(scene, keys)
    scene.api.faults.add(Answer(401, message=f"who is Bearer {TOKEN}?"), times=10_000)
    await until(scene, lambda s: any(p["reason"] == Reason.API_UNAUTHORIZED for p in s["problems"]), "a refusal")
    await _nothing_shows(scene, keys)
    scene.api.faults.clear()
    await serves(scene)
    await _dies_without_a_core_file(scene)
    await scene.start_agent()
    await serves(scene)
    await _nothing_shows(scene, keys)
    assert keys.issued, "no key was looked for"


async def _nothing_shows(scene: Scene, keys: Keys) -> None:
    said = {name: await output(scene) for name, output in OUTPUTS.items()}
    empty = [name for name, text in said.items() if not text.strip()]
    assert not empty, f"nothing to look at: {empty}"
    found = [f"{what} in {name}" for what, own in secrets(keys) for name, text in said.items() if own in text]
    assert not found, found


async def _dies_without_a_core_file(scene: Scene) -> None:
    assert scene.agent is not None
    assert resource.prlimit(scene.agent.pid, resource.RLIMIT_CORE)[0] == 0
    scene.agent.send_signal(signal.SIGQUIT)
    assert await scene.agent.wait() == -signal.SIGQUIT
