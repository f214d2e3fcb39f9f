"""Scenarios in which no port may be closed: before the first Ready, and on a host that has left."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import aiohttp

from agent.sandbox.stage import network
from agent.sandbox.stage.client import Load, ask
from agent.sandbox.stage.scene import Scene
from agent.sandbox.stage.tour import URL, is_ready, load, until
from tests.host.scenario import scenario, serves, serving


@contextlib.asynccontextmanager
async def nobody_refused(scene: Scene) -> AsyncIterator[Load]:
    """A plain client asks all the time; none of its requests may fail."""
    async with load(scene) as sent:
        await more(sent)
        yield sent
        await more(sent)
    assert sent.failed == [], f"of {sent.sent}: {sent.failed[:3]}"


async def more(sent: Load, count: int = 20) -> None:
    async with asyncio.timeout(20):
        await sent.reached(sent.sent + count)


@scenario()
async def the_first_start_closes_nothing(scene: Scene) -> None:
    """No identity, then a proxy that dies before this host was Ready, and an agent that is restarted."""
    await scene.start_app()
    await _listens()
    scene.workload_api.deny = True
    async with nobody_refused(scene) as sent:
        await scene.start_agent()
        status = await until(scene, _released, "its first decision")
        assert status["facts"]["ready_once"] == {"recorded": False, "fault": None}
        await more(sent)
        await scene.kill_agent()
        await scene.start_agent()
        await until(scene, _released, "the decision of the next agent")
        await more(sent)
        scene.workload_api.deny = False
        await until(scene, is_ready, "Ready=True")
        await until(scene, lambda s: s["facts"]["ready_once"]["recorded"], "the record")
    assert (await ask(URL))["from"] == network.HOST


async def _listens() -> None:
    """The application has come up."""
    while True:
        try:
            await ask(URL)
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)
        else:
            return


def _released(status: "dict[str, object]") -> bool:
    facts = status["facts"]
    assert isinstance(facts, dict)
    return bool(facts["redirect"] != "unknown" and facts["redirect"]["inbound"] == "released")


@scenario()
async def from_the_first_ready_on_a_port_is_closed(scene: Scene) -> None:
    """Also by an agent that has just started."""
    await serving(scene)
    status = await until(scene, lambda s: s["facts"]["ready_once"]["recorded"], "the record")
    await scene.end_agent()
    scene.workload_api.deny = True
    os.kill(status["facts"]["proxy"]["process"]["pid"], signal.SIGKILL)
    await scene.start_agent()
    await until(scene, lambda s: s["facts"]["redirect"] != "unknown" and _blocked(s), "a closed port")
    with contextlib.suppress(aiohttp.ClientError):
        raise AssertionError(f"a client was served past the proxy: {await ask(URL)}")
    _, text = await scene.cli("status", "--json")
    assert "new connections to port 8080 are reset for everybody, until the proxy is ready" in text
    scene.workload_api.deny = False
    await serves(scene)


def _blocked(status: "dict[str, object]") -> bool:
    facts = status["facts"]
    assert isinstance(facts, dict)
    return bool(facts["redirect"]["inbound"] == "block")


@scenario()
async def a_host_that_has_left_is_left_alone(scene: Scene) -> None:
    """A new agent, with the API server unreachable for as long as it may drain, then reachable again."""
    await serving(scene)
    assert (await scene.cli("leave"))[0] == 0
    await scene.end_agent()
    await scene.api.stop()
    async with nobody_refused(scene) as sent:
        await scene.start_agent()
        await until(scene, lambda s: s["left"] and s["facts"]["workload"] != "unknown", "no API server")
        await more(sent, 60)
        assert "table" not in await scene.read_on_host("nft", "list", "ruleset")
        await scene.start_api()
        await until(scene, lambda s: bool(s["ready"]["status"]), "the API server is back")
        await more(sent, 60)
        assert "table" not in await scene.read_on_host("nft", "list", "ruleset")
    assert (await ask(URL))["from"] == network.CLUSTER


@scenario()
async def leaving_refuses_no_plain_client(scene: Scene) -> None:
    """Before, while and after: the port is open before the proxy stops."""
    await serving(scene)
    async with nobody_refused(scene):
        assert (await scene.cli("leave"))[0] == 0
    async with nobody_refused(scene):
        assert (await scene.cli("join"))[0] == 0
    await serves(scene)
