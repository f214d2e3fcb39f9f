"""Fault scenarios of the proxy."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator

import aiohttp

from agent.core.reasons import Reason
from agent.sandbox.proxy import program as proxy
from agent.sandbox.stage import network
from agent.sandbox.stage.client import ask
from agent.sandbox.stage.scene import Scene
from agent.sandbox.stage.tour import URL, is_ready, until
from tests.host.scenario import named, scenario, serves, serving, started


def _program(scene: Scene, text: str) -> None:
    """Put a program in the proxy's place."""
    binary = scene.base / "linkerd2-proxy"
    binary.unlink()
    binary.write_text(text)
    binary.chmod(0o755)


async def _fails(scene: Scene, text: str, reason: Reason) -> None:
    good = (scene.base / "linkerd2-proxy").read_text()
    _program(scene, text)
    await started(scene)
    await named(scene, reason)
    _program(scene, good)
    await serves(scene)


@scenario()
async def proxy_binary_missing(scene: Scene) -> None:
    binary = scene.base / "linkerd2-proxy"
    away = binary.rename(scene.base / "elsewhere")
    await started(scene)
    await named(scene, Reason.PROXY_BINARY_UNUSABLE)
    away.rename(binary)
    await serves(scene)


@scenario()
async def proxy_refuses_its_configuration(scene: Scene) -> None:
    await _fails(scene, "#!/bin/sh\nexit 64\n", Reason.PROXY_CONFIGURATION_REFUSED)


@scenario()
async def proxy_is_a_zombie(scene: Scene) -> None:
    """Its identity has panicked: alive, "ready", permanently without a certificate. It never counts as ready, and
    is replaced after 30 s by one that works."""
    proxy.write_executable(scene.base / "linkerd2-proxy", **{proxy.PANIC: "1"})
    await started(scene)
    await named(scene, Reason.PROXY_UNCERTIFIED)
    ready = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:4191/ready').status)"
    assert await scene.read_on_host(sys.executable, "-c", ready) == "200\n"
    proxy.write_executable(scene.base / "linkerd2-proxy")
    status = await until(scene, lambda s: s["facts"]["proxy"]["restarts"] >= 1, "its end")
    assert status["ready"]["status"] == "False" or is_ready(status)
    await serves(scene)


@scenario()
async def proxy_crashes_again_and_again(scene: Scene) -> None:
    """Backoff: a few starts, each further from the one before."""
    good = (scene.base / "linkerd2-proxy").read_text()
    count = scene.base / "starts"
    count.touch()
    count.chmod(0o666)
    _program(scene, f"#!/bin/sh\necho x >> {count}\nkill -SEGV $$\n")
    await started(scene)
    await named(scene, Reason.PROXY_CRASHED)
    await asyncio.sleep(5)
    assert 2 <= len(count.read_text().split()) <= 12
    _program(scene, good)
    await serves(scene)


@scenario()
async def trust_anchors_unusable(scene: Scene) -> None:
    anchors = scene.prefix / "etc/fairlead/anchors.pem"
    anchors.write_text("nothing\n")
    await started(scene)
    await named(scene, Reason.TRUST_ANCHORS_UNUSABLE)
    anchors.write_text(scene.ca.pem)
    await serves(scene)


@contextlib.asynccontextmanager
async def _taken(scene: Scene, port: int) -> AsyncIterator[None]:
    """Another program listens on a port of the host."""
    program = (
        "import socket,sys,time; s=socket.create_server(('0.0.0.0', int(sys.argv[1])))\n"
        "print('taken', flush=True); time.sleep(999)"
    )
    read, write = os.pipe()
    holder = await scene.on_host(sys.executable, "-c", program, str(port), log=write)
    os.close(write)
    with os.fdopen(read) as said:
        assert said.readline() == "taken\n"
    yield
    holder.kill()
    await holder.wait()


@scenario()
async def the_proxys_port_is_taken(scene: Scene) -> None:
    async with _taken(scene, 4143):
        await started(scene)
        await named(scene, Reason.PROXY_PORT_TAKEN)
    await serves(scene)


@scenario()
async def the_admin_port_is_taken(scene: Scene) -> None:
    async with _taken(scene, 4191):
        await started(scene)
        await named(scene, Reason.PROXY_PORT_TAKEN)
    await serves(scene)


@scenario()
async def proxy_killed_under_a_living_agent(scene: Scene) -> None:
    """It is restarted; until then the port is closed, and never open without the proxy."""
    await serving(scene)
    status = await scene.status()
    os.kill(status["facts"]["proxy"]["process"]["pid"], signal.SIGKILL)
    status = await until(scene, lambda s: s["facts"]["proxy"]["restarts"] >= 1 and is_ready(s), "a new proxy")
    await serves(scene)


@scenario()
async def agent_and_proxy_are_killed_together_under_load(scene: Scene) -> None:
    """Requests fail from then until both are back, and at no other time; none reaches the application past the
    proxy, although no agent runs to close the port."""
    await serving(scene)
    status = await scene.status()
    seen: list[str] = []
    asking = asyncio.create_task(_ask_on(seen))
    await _until_said(seen, "proxy", 20)
    assert scene.agent is not None
    for pid in (scene.agent.pid, status["facts"]["proxy"]["process"]["pid"]):
        os.kill(pid, signal.SIGKILL)
    await scene.kill_agent()
    await _until_said(seen, "failed", 5)
    await scene.start_agent()
    await serves(scene)
    seen.append("back")
    await _until_said(seen, "proxy", seen.count("proxy") + 20)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert re.fullmatch("(proxy )+(failed )+(proxy )*back (proxy )+", " ".join([*seen, ""])), seen


async def _ask_on(seen: list[str]) -> None:
    """One request after another, and who answered: the proxy, the application directly, or none."""
    while True:
        try:
            through = (await ask(URL, aiohttp.ClientTimeout(total=2)))["from"] == network.HOST
            seen.append("proxy" if through else "past")
        except (aiohttp.ClientError, TimeoutError):
            seen.append("failed")
        await asyncio.sleep(0.02)


async def _until_said(seen: list[str], word: str, count: int) -> None:
    async with asyncio.timeout(60):
        while seen.count(word) < count:
            await asyncio.sleep(0.02)


@scenario()
async def the_proxys_log_level_is_set_while_it_runs(scene: Scene) -> None:
    """And a filter that the proxy does not take changes nothing."""
    await serving(scene)
    code, text = await scene.cli("proxy", "log-level", "debug,linkerd=trace")
    assert (code, text.strip()) == (0, "debug,linkerd=trace")
    code, text = await scene.cli("proxy", "log-level", "loud")
    assert code == 1 and "it refuses '" in text, text
    code, text = await scene.cli("proxy", "log-level", "--json")
    assert (code, text.strip()) == (0, '{"filter": "debug,linkerd=trace"}')
    await serves(scene)


@scenario()
async def a_proxy_of_ones_own_is_restarted_and_never_exchanged(scene: Scene) -> None:
    await serving(scene)
    before = (await scene.status())["facts"]["proxy"]["process"]["pid"]
    code, text = await scene.cli("proxy", "restart", "--json")
    assert code == 0 and '"done": true' in text.splitlines()[-1], text
    assert (await scene.status())["facts"]["proxy"]["process"]["pid"] != before
    code, text = await scene.cli("proxy", "rollback")
    assert code == 1 and "no previous version" in text, text
    code, text = await scene.cli("proxy", "upgrade", "2.999.0")
    assert code == 1 and "replace that file" in text, text
    await serves(scene)
