"""Scenarios in which the configuration, or a file that it names, is edited on a host that serves."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from agent.core.reasons import Reason
from agent.sandbox.identity.ca import Authority
from agent.sandbox.stage import network
from agent.sandbox.stage.scene import Scene
from agent.sandbox.stage.tour import is_ready, until
from tests.host.scenario import descriptors, named, no_more_descriptors, scenario, serves, serving


def _edit(scene: Scene, old: str, new: str) -> None:
    file = scene.prefix / "etc/fairlead/fairlead.toml"
    text = file.read_text()
    assert old in text, old
    file.write_text(text.replace(old, new))


async def _proxy(scene: Scene) -> int:
    pid: int = (await scene.status())["facts"]["proxy"]["process"]["pid"]
    return pid


def _times_unready(scene: Scene) -> str:
    conditions = scene.workload()["status"]["conditions"]
    return str(next(one["lastTransitionTime"] for one in conditions if one["type"] == "Ready"))


@contextlib.asynccontextmanager
async def _untouched(scene: Scene) -> AsyncIterator[None]:
    """The same agent, the same proxy, and Ready never changed."""
    assert scene.agent is not None
    before = (scene.agent.pid, await _proxy(scene), _times_unready(scene))
    yield
    await serves(scene)
    assert (scene.agent.pid, await _proxy(scene), _times_unready(scene)) == before


async def _reads_it_again(scene: Scene, count: int) -> None:
    """The socket is away for a moment, as when another agent takes over."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                status = await scene.status()
                if status["configuration"] == count and is_ready(status):
                    return
            await asyncio.sleep(0.05)


@scenario()
async def the_configuration_is_edited_under_a_host_that_serves(scene: Scene) -> None:
    """An invalid file is refused with every problem; a valid one is accepted, and changes nothing else."""
    await serving(scene)
    async with _untouched(scene):
        _edit(scene, "settle = 1\n", 'settle = "soon"\nsettel = 2\n')
        code, text = await scene.cli("reload")
        assert code == 64 and "drain.settle" in text and "drain.settel" in text and "2 problems" in text, text
        await named(scene, Reason.CONFIGURATION_REFUSED, ready=True)
        _edit(scene, 'settle = "soon"\nsettel = 2\n', "settle = 2\n")
        code, text = await scene.cli("reload")
        assert (code, text) == (0, "drain.settle: in force\n"), text
        await _reads_it_again(scene, 2)
        code, text = await scene.cli("reload")
        assert (code, text) == (0, "the configuration has not changed\n"), text


@scenario()
async def spire_goes_away_before_a_reload(scene: Scene) -> None:
    """The credential for the API server is still valid, so what comes next is published."""
    await serving(scene)
    await scene.workload_api.stop()
    _edit(scene, "settle = 1\n", "settle = 2\n")
    assert (await scene.cli("reload"))[0] == 0
    code, text = await scene.cli("drain")
    assert code == 0 and scene.ready()[0] == "False", text
    await scene.workload_api.start()
    assert (await scene.cli("undrain"))[0] == 0
    await serves(scene)


@scenario()
async def what_the_agent_reads_anew_leaks_nothing(scene: Scene) -> None:
    """By the signal that `systemctl reload` sends."""
    await serving(scene)
    assert scene.agent is not None
    seen: list[int] = []
    async with _untouched(scene):
        for count in range(2, 8):
            _edit(scene, f"settle = {count - 1}\n", f"settle = {count}\n")
            os.kill(scene.agent.pid, signal.SIGHUP)
            await _reads_it_again(scene, count)
            seen.append(descriptors(scene))
    await no_more_descriptors(scene, seen[0])


@scenario()
async def an_edit_that_the_proxy_must_read_waits_for_its_restart(scene: Scene) -> None:
    await serving(scene)
    async with _untouched(scene):
        _edit(scene, "grace = 10\n", 'grace = 9\nlog = "debug"\n')
        _edit(scene, f'outbound_networks = ["{network.POD_NETWORK}"]', "outbound_networks = []")
        code, text = await scene.cli("reload")
        assert code == 0 and "proxy.grace: waits for a restart of the proxy\n" in text, text
        assert "proxy.log: in force\n" in text, text
        assert "redirect.outbound_networks: waits for: fairlead redirect apply\n" in text, text
        await named(scene, Reason.RESTART_PENDING, ready=True)
        assert (await scene.cli("proxy", "log-level"))[1] == "debug\n"
    before = await _proxy(scene)
    code, text = await scene.cli("reload", "--restart-proxy", "--json")
    assert code == 0 and '"restarting": true' in text and '"done": true' in text.splitlines()[-1], text
    assert await _proxy(scene) != before and not _pending(await scene.status())
    code, text = await scene.cli("reload", "--restart-proxy")
    assert (code, text) == (0, "the configuration has not changed\n"), text
    apply = (sys.executable, "-m", "agent", "redirect", "apply", "--prefix", str(scene.prefix))
    print(await scene.read_on_host(*apply), file=sys.stderr)
    await _reads_it_again(scene, 3)


def _pending(status: dict[str, Any]) -> bool:
    return Reason.RESTART_PENDING in {problem["reason"] for problem in status["problems"]}


@scenario()
async def an_edit_that_makes_another_host_is_refused(scene: Scene) -> None:
    await serving(scene)
    async with _untouched(scene):
        _edit(scene, f'name = "{scene.name}"\n', 'name = "another"\n')
        code, text = await scene.cli("reload", "--json")
        assert code == 64 and '"key": "workload.name"' in text, text
        _edit(scene, 'name = "another"\n', f'name = "{scene.name}"\n')
        assert (await scene.cli("reload"))[0] == 0
        await until(scene, lambda s: not s["problems"], "nothing to say")


@scenario(replace={"[api]": "anchors_window = 0\n\n[api]"})
async def new_trust_anchors_restart_the_proxy_by_themselves(scene: Scene) -> None:
    await serving(scene)
    before = await _proxy(scene)
    both = scene.ca.pem + Authority("example.org").pem
    (scene.prefix / "etc/fairlead/anchors.pem").write_text(both)
    await until(scene, lambda s: _restarted(s, before) and is_ready(s), "a proxy with the new anchors")
    await serves(scene)
    assert (await scene.status())["facts"]["replacement"]["stage"] == "done"


def _restarted(status: dict[str, Any], before: int) -> bool:
    facts = status["facts"]
    started, process = facts["started_with"], facts["proxy"]["process"]
    new = process is not None and process["pid"] != before and started is not None
    return bool(new and started["process"] == process and started["anchors"] == facts["anchors"]["in_force"])
