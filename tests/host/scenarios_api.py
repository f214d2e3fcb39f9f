"""Fault scenarios of the API server."""

import asyncio

from agent.core.reasons import Reason
from agent.sandbox.api.faults import Answer, Break
from agent.sandbox.api.server import EXTERNAL_WORKLOADS, LEASES
from agent.sandbox.stage import network
from agent.sandbox.stage.client import ask
from agent.sandbox.stage.scene import NAME, NAMESPACE, Scene
from agent.sandbox.stage.tour import URL, is_ready, status_writes, until
from tests.host.scenario import calm, descriptors, named, scenario, serves, serving, started


@scenario()
async def api_server_down_at_the_start(scene: Scene) -> None:
    """The data plane does not wait for it."""
    await scene.api.stop()
    await started(scene)
    await until(
        scene, lambda s: s["facts"]["redirect"] != "unknown" and s["facts"]["redirect"]["inbound"] == "on", "ON"
    )
    assert (await ask(URL))["from"] == network.HOST
    await named(scene, Reason.API_UNREACHABLE)
    await scene.start_api()
    await serves(scene)


@scenario()
async def api_server_down_while_things_change(scene: Scene) -> None:
    """The current state is written once when it is reachable again."""
    await serving(scene)
    writes = status_writes(scene)
    await scene.api.stop()
    await scene.stop_app()
    await until(scene, lambda s: s["goals"]["advertise"] == "no", "a verdict")
    await named(scene, Reason.API_UNREACHABLE, ready=True)
    await scene.start_api()
    await until(scene, lambda s: s["ready"]["status"] == "False", "Ready=False")
    assert status_writes(scene) == writes + 1


async def _answers(scene: Scene, answer: Answer, reason: Reason) -> None:
    scene.api.faults.add(answer, times=10_000)
    await started(scene)
    await named(scene, reason)
    scene.api.faults.clear()
    await serves(scene)


@scenario(token=True)
async def api_answers_401(scene: Scene) -> None:
    await _answers(scene, Answer(401), Reason.API_UNAUTHORIZED)


@scenario()
async def api_knows_no_jwt_svid_yet(scene: Scene) -> None:
    """Its issuer was unreachable when it started: it answers 401 for a while."""
    authenticators, scene.api.authenticators = scene.api.authenticators, []
    await started(scene)
    await named(scene, Reason.API_JWT_REFUSED)
    scene.api.authenticators = authenticators
    await serves(scene)


@scenario()
async def api_answers_403(scene: Scene) -> None:
    await _answers(scene, Answer(403), Reason.API_FORBIDDEN)


@scenario()
async def api_answers_503(scene: Scene) -> None:
    await _answers(scene, Answer(503), Reason.API_FAILING)


@scenario()
async def api_forbids_only_the_write(scene: Scene) -> None:
    scene.api.allow = lambda asked: asked.resource != "externalworkloads/status"
    await started(scene)
    await named(scene, Reason.API_FORBIDDEN)
    scene.api.allow = lambda asked: True
    await serves(scene)


@scenario()
async def api_throttles(scene: Scene) -> None:
    """What it asks for is honoured: no second request of a kind before Retry-After is over."""
    scene.api.faults.add(Answer(429, retry_after="5"), times=10_000)
    await started(scene)
    await named(scene, Reason.API_THROTTLED)
    seen = list(scene.api.requests)
    own = [r for r in seen if r.user != "linkerd-destination" and "externalworkloads" in r.path]
    assert len([r for r in own if r.method == "GET"]) <= 2
    scene.api.faults.clear()
    await serves(scene)


@scenario()
async def api_hangs(scene: Scene) -> None:
    scene.api.faults.add(Break.HANG, times=10_000)
    await started(scene)
    await named(scene, Reason.API_TIMEOUT)
    scene.api.faults.clear()
    await serves(scene)


@scenario()
async def api_resets_in_the_middle(scene: Scene) -> None:
    await serving(scene)
    before = descriptors(scene)
    for _ in range(5):
        scene.api.cut()
        await asyncio.sleep(0.3)
    await until(scene, lambda s: is_ready(s) and not s["problems"], "recovery")
    assert descriptors(scene) <= before + 2, "descriptors leak"


@scenario()
async def api_conflicts(scene: Scene) -> None:
    """Others write the object all the time: the true state is written, and theirs is kept."""
    scene.api.faults.add(Answer(409), times=3, method="PATCH", path="/status")
    await serving(scene)


@scenario()
async def no_such_external_workload(scene: Scene) -> None:
    made = scene.workload()
    scene.api.delete(EXTERNAL_WORKLOADS, NAMESPACE, NAME)
    await scene.start_app()
    await scene.start_agent()
    await until(scene, lambda s: any(p["reason"] == "WorkloadMissing" for p in s["problems"]), "WorkloadMissing")
    await calm(scene)
    keep = ("apiVersion", "kind", "spec")
    scene.api.create({**{k: made[k] for k in keep}, "metadata": {"name": NAME, "namespace": NAMESPACE}})
    await serves(scene)


@scenario()
async def no_lease(scene: Scene) -> None:
    """It is reported, and Ready does not change."""
    scene.api.delete(LEASES, NAMESPACE, NAME)
    await started(scene)
    await until(scene, is_ready, "Ready=True")
    await named(scene, Reason.LEASE_MISSING, ready=True)


@scenario(token=True)
async def a_token_that_is_not_there_yet(scene: Scene) -> None:
    token = scene.prefix / "etc/fairlead/token"
    text = token.read_text()
    token.unlink()
    await started(scene)
    await named(scene, Reason.API_CREDENTIAL_UNREADABLE)
    token.write_text(text)
    await serves(scene)
