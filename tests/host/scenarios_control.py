"""Fault scenarios: the control plane is unreachable from the start, until later, or from later on."""

import os
import signal
from typing import Any

from agent.core.reasons import Reason
from agent.sandbox.identity.ca import Authority
from agent.sandbox.proxy.controllers import Controllers
from agent.sandbox.stage import network
from agent.sandbox.stage.client import ask
from agent.sandbox.stage.scene import TRUST_DOMAIN, Scene
from agent.sandbox.stage.tour import URL, is_ready, until
from tests.host.scenario import named, scenario, serves, serving, started

# A name that this machine's resolver does not have: no query leaves the host.
UNKNOWN_NAME = {f'policy = "{network.CLUSTER}:8090"': 'policy = "policy.invalid.:8090"'}


async def _levels(scene: Scene, outbound: str) -> None:
    """Inbound is the proxy's; outbound follows the control plane's answer."""
    wanted = ("on", outbound)

    def there(status: dict[str, Any]) -> bool:
        found = status["facts"]["redirect"]
        return (found["inbound"], found["outbound"]) == wanted

    await until(scene, there, f"inbound on, outbound {outbound}")


async def _own_work_goes_on(scene: Scene) -> None:
    """A program on the host reaches a pod, without the proxy that could not send it anywhere."""
    answer = await scene.read_on_host("python3", "-I", "-c", _FETCH, f"http://{network.POD}:80/")
    assert "from a pod" in answer, answer[-200:]


_FETCH = "import sys,urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())"


@scenario()
async def the_control_plane_is_away_from_the_start_and_comes_later(scene: Scene) -> None:
    await scene.controllers.stop()
    await started(scene)
    await named(scene, Reason.CONTROL_PLANE_UNREACHABLE)
    await _levels(scene, "released")
    await _own_work_goes_on(scene)
    _, text = await scene.cli("status")
    assert f"{network.CLUSTER}:8090 at {network.CLUSTER}: " in text, text
    expected = ("False", "ControlPlaneUnreachable")
    await until(scene, lambda _: _condition(scene) == expected, "its condition")
    await scene.controllers.start()
    await serves(scene)
    await _levels(scene, "on")
    await until(scene, lambda _: _condition(scene) == ("True", "ControlPlaneReached"), "its condition")


def _condition(scene: Scene) -> tuple[str, str]:
    found = scene.workload().get("status", {}).get("conditions", [])
    mine = [c for c in found if c["type"] == "fairlead.dev/ControlPlaneReached"]
    return (mine[0]["status"], mine[0]["reason"]) if mine else ("", "")


@scenario()
async def the_control_plane_is_lost_later(scene: Scene) -> None:
    """A warning, and nothing else: not with this agent, and not with the next one."""
    await serving(scene)
    await scene.controllers.stop()
    await named(scene, Reason.CONTROL_PLANE_LOST, ready=True)
    await _levels(scene, "on")
    assert (await ask(URL))["from"] == network.HOST
    await scene.kill_agent()
    await scene.start_agent()
    status = await until(scene, is_ready, "Ready=True")
    assert status["facts"]["proxy"]["adopted"]
    await _levels(scene, "on")
    await scene.controllers.start()
    await until(scene, lambda s: is_ready(s) and not s["problems"], "no trouble")


@scenario()
async def a_proxy_that_starts_while_the_control_plane_is_away(scene: Scene) -> None:
    """The answer to the one before it is none to this one."""
    await serving(scene)
    await scene.controllers.stop()
    status = await scene.status()
    os.kill(status["facts"]["proxy"]["process"]["pid"], signal.SIGKILL)
    await named(scene, Reason.CONTROL_PLANE_UNREACHABLE)
    await _levels(scene, "released")
    await _own_work_goes_on(scene)
    await scene.controllers.start()
    await serves(scene)
    await _levels(scene, "on")


@scenario(replace=UNKNOWN_NAME)
async def the_name_of_the_policy_controller_has_no_address(scene: Scene) -> None:
    await started(scene)
    await named(scene, Reason.CONTROL_PLANE_UNRESOLVED)
    _, text = await scene.cli("status")
    assert "policy.invalid." in text and "/etc/resolv.conf" in text, text
    await _levels(scene, "released")


@scenario()
async def another_mesh_answers_in_the_place_of_the_control_plane(scene: Scene) -> None:
    await scene.controllers.stop()
    stranger = Controllers(Authority(TRUST_DOMAIN), network.CLUSTER, scene.api)
    await stranger.start()
    await started(scene)
    await named(scene, Reason.CONTROL_PLANE_UNTRUSTED)
    await _levels(scene, "released")
    await stranger.stop()
    await scene.controllers.start()
    await serves(scene)


@scenario(replace={f'destination = "{network.CLUSTER}:8086"': f'destination = "{network.CLUSTER}:8087"'})
async def the_destination_controller_cannot_be_reached(scene: Scene) -> None:
    """Only a warning: it is asked when something goes out."""
    scene.controllers.silent = True
    await started(scene)
    await until(
        scene,
        lambda s: any(p["reason"] == Reason.DESTINATION_UNREACHABLE.value for p in s["problems"]),
        "the warning",
    )
    scene.controllers.silent = False
    await serves(scene)


@scenario()
async def the_policy_controller_accepts_and_does_not_answer(scene: Scene) -> None:
    scene.controllers.silent = True
    await started(scene)
    await named(scene, Reason.CONTROL_PLANE_PENDING)
    await _levels(scene, "released")
    scene.controllers.silent = False
    await serves(scene)
