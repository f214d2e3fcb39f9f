"""Fault scenarios of the kernel, the application and the agent."""

import asyncio
import os
import socket
import sys
from typing import Any

from agent.core import machines
from agent.core.reasons import Reason
from agent.host import clocks
from agent.sandbox.api.faults import Break
from agent.sandbox.api.server import LEASES
from agent.sandbox.api.store import Place
from agent.sandbox.stage import network
from agent.sandbox.stage.background import background
from agent.sandbox.stage.client import ask
from agent.sandbox.stage.scene import NAME, NAMESPACE, PORT, Scene
from agent.sandbox.stage.tour import URL, is_ready, status_writes, until
from tests.host.scenario import (
    calm,
    descriptors,
    marked,
    named,
    no_more_descriptors,
    scenario,
    serves,
    serving,
    started,
    until_it_is_written,
)

COPYS_BOOT = "boot-of-the-copy"


@scenario()
async def no_right_to_nftables(scene: Scene) -> None:
    await scene.start_app()
    await scene.start_agent("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    await named(scene, Reason.REDIRECT_FORBIDDEN)


@scenario()
async def no_connection_tracking_before(scene: Scene) -> None:
    """A bare host without any rule: the proxy could not find out where a connection was going."""
    assert "table" not in await scene.read_on_host("nft", "list", "ruleset")
    await serving(scene)


@scenario(replace={"[redirect]\n": '[redirect]\nmode = "off"\n'})
async def redirect_off_keeps_tracking_on(scene: Scene) -> None:
    await started(scene)
    await until(scene, is_ready, "Ready=True")
    assert (await ask(URL))["from"] == network.CLUSTER, "directly"
    assert "ct state" in await scene.read_on_host("nft", "list", "ruleset")


@scenario()
async def somebody_flushes_the_rules(scene: Scene) -> None:
    """Repaired at the next check, without a write to the API server."""
    await serving(scene)
    writes = status_writes(scene)
    await scene.read_on_host("nft", "flush", "ruleset")
    async with asyncio.timeout(45):
        while "dnat" not in await scene.read_on_host("nft", "list", "ruleset"):
            await asyncio.sleep(0.5)
    await serves(scene)
    assert status_writes(scene) == writes


_LISTENERS = {
    "hangs": "c.recv(9); time.sleep(99)",
    "resets": "c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\\1\\0\\0\\0\\0\\0\\0\\0'); c.close()",
    "never_ends": "c.recv(999); c.sendall(b'HTTP/1.1 200 OK\\r\\nX: ');\n  while 1: c.sendall(b'x'*4096)",
}


async def _target(scene: Scene, behaviour: str) -> None:
    """A server that never answers; the probe must end at its timeout, and notice a real application."""
    program = (
        f"import socket,time,threading\ns=socket.create_server(('{network.HOST}', {PORT}))\n"
        f"def serve(c):\n try:\n  {_LISTENERS[behaviour]}\n except OSError: pass\n"
        "while 1: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()\n"
    )
    target = await scene.on_host(sys.executable, "-c", program)
    await scene.start_agent()
    await named(scene, Reason.PROBE_FAILING)
    before = descriptors(scene)
    await asyncio.sleep(3)
    await no_more_descriptors(scene, before, 2)
    target.kill()
    await target.wait()
    await scene.start_app()
    await serves(scene)


@scenario()
async def probe_target_hangs(scene: Scene) -> None:
    await _target(scene, "hangs")


@scenario()
async def probe_target_resets(scene: Scene) -> None:
    await _target(scene, "resets")


@scenario()
async def probe_target_never_ends_its_answer(scene: Scene) -> None:
    await _target(scene, "never_ends")


@scenario()
async def a_socket_left_by_a_dead_agent(scene: Scene) -> None:
    await serving(scene)
    await scene.kill_agent()
    assert (scene.prefix / "run/fairlead/fairlead.sock").exists()
    code, text = await scene.cli("status")
    assert code == 69 and "no agent is running" in text
    await scene.start_agent()
    await serves(scene)


@scenario()
async def two_agents(scene: Scene) -> None:
    await serving(scene)
    code, text = await scene.cli("run")
    assert code == 69 and "another agent is running" in text
    await serves(scene)


@scenario()
async def a_configuration_with_problems(scene: Scene) -> None:
    file = scene.prefix / "etc/fairlead/fairlead.toml"
    file.write_text(file.read_text().replace(f"ports = [{PORT}]", "ports = [22]\nprots = 1"))
    code, text = await scene.cli("run")
    assert code == 64
    assert "workload.ports" in text and "workload.prots" in text and "did you mean ports?" in text
    file.unlink()
    code, text = await scene.cli("run")
    assert code == 64 and "No such file" in text


@scenario()
async def handover_changes_nothing(scene: Scene) -> None:
    """SIGTERM never takes the host out of the mesh; the Lease is given ten minutes."""
    await serving(scene)
    await until(scene, lambda s: s["facts"]["lease"]["renewed_at"] is not None, "a renewal")
    writes, rules = status_writes(scene), await scene.read_on_host("nft", "-s", "list", "ruleset")
    await scene.end_agent()
    assert (await ask(URL))["from"] == network.HOST
    assert scene.api.get(LEASES, NAMESPACE, NAME)["spec"]["leaseDurationSeconds"] == 600
    assert await scene.read_on_host("nft", "-s", "list", "ruleset") == rules
    await scene.start_agent()
    await serves(scene)
    assert status_writes(scene) == writes


@scenario()
async def leave_is_remembered(scene: Scene) -> None:
    """Over a restart of the agent; join takes it back."""
    await serving(scene)
    code, text = await scene.cli("leave")
    assert code == 0, text
    await scene.end_agent()
    await scene.start_agent()
    await until(scene, lambda s: bool(s["left"]), "left")
    assert scene.ready() == ("False", "Left")
    code, text = await scene.cli("join")
    assert code == 0, text
    await serves(scene)


@scenario(replace={"timeout = 30\n": "timeout = 3\n"})
async def leave_while_the_api_server_is_away(scene: Scene) -> None:
    """It cannot be announced; after drain.timeout the host leaves anyway."""
    await serving(scene)
    await scene.api.stop()
    code, text = await scene.cli("leave")
    assert code == 0, text
    assert "table" not in await scene.read_on_host("nft", "list", "ruleset")
    await scene.start_api()
    await until(scene, lambda s: s["ready"]["status"] == "False", "Ready=False")


@scenario(token=True)
async def every_source_hangs(scene: Scene) -> None:
    """Each fact has a first value or a known fault within 5 s in any case: the agent is up, and reports it."""
    scene.workload_api.silence = True
    scene.api.faults.add(Break.HANG, times=10_000)
    await started(scene)
    status = await until(scene, lambda s: s["facts"]["agent"] != "unknown", "READY=1")
    assert {p["reason"] for p in status["problems"]} >= {"WorkloadApiSilent", "ApiTimeout"}
    await calm(scene)
    scene.workload_api.silence = False
    scene.api.faults.clear()
    await serves(scene)


@scenario()
async def the_service_manager_is_told(scene: Scene) -> None:
    path = scene.base / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)
        await scene.start_app()
        await scene.start_agent("env", f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=1000000")
        said: list[str] = []
        wanted = {"READY=1", "WATCHDOG=1", "STATUS=Ready: identity, proxy, redirect and probes are as intended"}
        while not wanted <= set(said):
            said += (await asyncio.get_running_loop().sock_recv(manager, 4096)).decode().splitlines()
        assert said.count("READY=1") == 1
    # The manager has ended.
    await scene.stop_app()
    text = "the service manager receives no notifications"
    await until(scene, lambda s: any(p["reason"] == "ProbeFailing" for p in s["problems"]), "a verdict")
    assert any(text in line for line in scene.last_words(200)), scene.last_words(200)
    await scene.end_agent()


@scenario()
async def a_watch_outlives_the_agent(scene: Scene) -> None:
    """`status --watch` goes on over a restart of the agent."""
    await serving(scene)
    read, write = os.pipe()
    command = [sys.executable, "-m", "agent", "status", "--prefix", str(scene.prefix), "--watch", "--json"]
    watch = await scene.on_host(*command, log=write)
    os.close(write)
    lines = asyncio.StreamReader(limit=1 << 20)
    pipe = os.fdopen(read, "rb")
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), pipe)
    await lines.readline()
    await scene.kill_agent()
    while b"waiting for the next agent" not in await lines.readline():
        assert watch.returncode is None
    await scene.start_agent()
    while b'"status": "True"' not in await lines.readline():
        assert watch.returncode is None
    watch.kill()
    await watch.wait()


@scenario()
async def an_address_that_goes_and_comes_again(scene: Scene) -> None:
    """As with DHCP: the change is published in time, and its return needs no operator."""
    await serving(scene)
    words = [f"{network.HOST6}/64", "dev", "eth0"]
    await scene.read_on_host("ip", "address", "del", *words)
    await until(scene, lambda s: s["ready"]["status"] == "False", "Ready=False")
    await named(scene, Reason.ADDRESS_ABSENT)
    assert scene.ready() == ("False", "AddressAbsent")
    await scene.read_on_host("ip", "address", "add", *words, "nodad")
    await serves(scene)


@scenario(replace={'audience = "kubernetes"\n': 'audience = "kubernetes"\nlease_period = 5\n'})
async def a_copy_of_this_host_that_renews_its_lease(scene: Scene) -> None:
    """While this host has the address it serves, and reports the copy. Without the address it writes nothing: the
    other serves."""
    await serving(scene)
    async with background(_renewed_by_a_copy(scene)):
        await named(scene, Reason.HOST_DUPLICATED, ready=True)
        await scene.read_on_host("ip", "address", "del", f"{network.HOST6}/64", "dev", "eth0")
        await until(scene, lambda s: s["goals"]["reason"] == Reason.HOST_DUPLICATED.value, "HostDuplicated")
        conditions = scene.workload()["status"]["conditions"]
        await named(scene, Reason.HOST_DUPLICATED, ready=True)
        await scene.kill_agent()
        await until_it_is_written(scene, machines.BOOT_ID, COPYS_BOOT)
        code, text = await scene.cli("shutdown-drain")
        assert code == 0, text
        assert scene.workload()["status"]["conditions"] == conditions


async def _renewed_by_a_copy(scene: Scene) -> None:
    def renewed(body: dict[str, Any]) -> dict[str, Any]:
        spec = {"holderIdentity": "copy", "renewTime": clocks.exact_wall(), "leaseDurationSeconds": 20}
        return {**marked(body, {machines.BOOT_ID: COPYS_BOOT}), "spec": spec}

    while True:
        scene.api.store.patch(Place(LEASES, NAMESPACE, NAME), renewed)
        await asyncio.sleep(1)
