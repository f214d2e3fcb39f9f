"""Fault scenarios of the Workload API."""

import socket

from agent.core.reasons import Reason
from agent.sandbox.identity.workload_api import Entry
from agent.sandbox.stage.scene import AGENT_UID, ENTRIES_OF_AGENT, IDENTITY, PROXY_UID, Scene
from agent.sandbox.stage.tour import status_writes, until
from tests.host.scenario import descriptors, named, scenario, serves, serving, started


@scenario()
async def workload_api_absent_then_there(scene: Scene) -> None:
    await scene.workload_api.stop()
    await started(scene)
    await named(scene, Reason.WORKLOAD_API_ABSENT)
    await scene.workload_api.start()
    await serves(scene)


@scenario()
async def workload_api_refuses(scene: Scene) -> None:
    await scene.workload_api.stop()
    path = scene.base / "workload-api.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    await started(scene)
    await named(scene, Reason.WORKLOAD_API_REFUSED)
    path.unlink()
    await scene.workload_api.start()
    await serves(scene)


@scenario()
async def workload_api_denies(scene: Scene) -> None:
    scene.workload_api.deny = True
    await started(scene)
    await named(scene, Reason.WORKLOAD_API_DENIED)
    scene.workload_api.deny = False
    await serves(scene)


@scenario()
async def workload_api_is_silent(scene: Scene) -> None:
    scene.workload_api.silence = True
    await started(scene)
    await named(scene, Reason.WORKLOAD_API_SILENT)
    scene.workload_api.silence = False
    await serves(scene)


@scenario(svid_ttl=600.0)
async def workload_api_dies_later(scene: Scene) -> None:
    """The SVID lasts: nothing changes for the host."""
    await serving(scene)
    writes, before = status_writes(scene), descriptors(scene)
    for _ in range(3):
        await scene.workload_api.stop()
        await named(scene, Reason.WORKLOAD_API_ABSENT, ready=True)
        await scene.workload_api.start()
        await until(scene, lambda s: not s["problems"], "recovery")
    assert status_writes(scene) == writes
    assert descriptors(scene) <= before + 2, "descriptors leak"


@scenario(svid_ttl=20.0)
async def workload_api_dies_for_longer_than_the_svid_lasts(scene: Scene) -> None:
    """Unready before the SVID has expired; Ready again, by the same proxy, when it comes back. The Workload API
    ends before it has issued a second SVID to either, so the proxy's is not the older one."""
    await serving(scene)
    pid = (await scene.status())["facts"]["proxy"]["process"]["pid"]
    await scene.workload_api.stop()
    status = await until(scene, lambda s: s["ready"]["status"] == "False", "Ready=False")
    assert status["facts"]["proxy"]["certificate_expires_at"] > 0, "it is still valid"
    await scene.workload_api.start()
    await serves(scene)
    assert (await scene.status())["facts"]["proxy"]["process"]["pid"] == pid


@scenario()
async def no_entry_for_the_proxys_user(scene: Scene) -> None:
    """The agent's SVID proves nothing about the proxy's; without its own, the proxy is not started."""
    scene.workload_api.register(PROXY_UID)
    await started(scene)
    await named(scene, Reason.PROXY_IDENTITY_MISSING)
    assert (await scene.status())["facts"]["proxy"]["process"] is None
    scene.workload_api.register(PROXY_UID, Entry(IDENTITY))
    await serves(scene)


@scenario()
async def another_identity(scene: Scene) -> None:
    scene.workload_api.register(AGENT_UID, Entry(f"{IDENTITY}-other"))
    await started(scene)
    await named(scene, Reason.IDENTITY_UNEXPECTED)
    scene.workload_api.register(AGENT_UID, *ENTRIES_OF_AGENT)
    await serves(scene)
