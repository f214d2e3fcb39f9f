"""Scenarios of a host whose application speaks first: its clients send nothing until they are greeted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from agent.core.reasons import Reason
from agent.sandbox.proxy import program
from agent.sandbox.stage import network
from agent.sandbox.stage.background import background
from agent.sandbox.stage.greetings import MYSQL, SMTP, annotate, greeted, greeted_meshed, start
from agent.sandbox.stage.scene import NAME, NAMESPACE, PORT, Scene
from agent.sandbox.stage.tour import is_ready, until
from tests.host.scenario import named, scenario

TCP = {'kind = "http"\npath = "/healthz"': 'kind = "tcp"'}
OPAQUE = {**TCP, f"ports = [{PORT}]": f"ports = [{PORT}]\nopaque_ports = [{PORT}]"}
COMMAND = f"kubectl annotate externalworkload {NAME} -n {NAMESPACE}"


@dataclass
class Clients:
    """One plain client after the other: it connects, is silent, and waits for the greeting."""

    greeting: str
    seen: list[str] = field(default_factory=list)  # by which address the application saw each
    lost: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        while True:
            for address in (network.HOST, network.HOST6):
                await self._one(address)
            self.changed.set()
            self.changed = asyncio.Event()
            await asyncio.sleep(0.05)

    async def _one(self, address: str) -> None:
        try:
            greeting, _, seen = (await greeted(address, PORT)).rpartition(" ")
            assert greeting == self.greeting
            self.seen.append(seen)
        except (OSError, TimeoutError) as error:
            self.lost.append(f"{type(error).__name__}: {error}")

    async def more(self) -> None:
        """Twenty others."""
        goal = len(self.seen) + len(self.lost) + 20
        async with asyncio.timeout(60):
            while len(self.seen) + len(self.lost) < goal:
                await self.changed.wait()


@contextlib.asynccontextmanager
async def nobody_lost(scene: Scene, greeting: str) -> AsyncIterator[Clients]:
    """A server that greets, and its clients before, during and after what happens inside."""
    scene.app = await start(scene, greeting, PORT)
    clients = Clients(greeting)
    async with background(clients.run()):
        await clients.more()
        yield clients
        await clients.more()
    assert clients.lost == [], f"of {len(clients.seen)}: {clients.lost[:3]}"


@contextlib.asynccontextmanager
async def open_all_along() -> AsyncIterator[None]:
    """A client that was greeted before, and ends in its own time."""
    reader, writer = await asyncio.open_connection(network.HOST, PORT)
    await reader.readline()
    yield
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


async def joined(scene: Scene, clients: Clients) -> None:
    await until(scene, is_ready, "Ready=True")
    before = len(clients.seen)
    await clients.more()
    assert {network.HOST, network.HOST6} <= set(clients.seen[before:]), "through the proxy"
    assert (await greeted_meshed(network.HOST, PORT, scene.ca)).startswith(clients.greeting)


@scenario(replace=OPAQUE)
async def a_mysql_server_that_is_opaque_joins_and_leaves(scene: Scene) -> None:
    annotate(scene.api, str(PORT))
    async with nobody_lost(scene, MYSQL) as clients, open_all_along():
        await scene.start_agent()
        await joined(scene, clients)
        code, output = await scene.cli("leave")
        assert code == 0, output


@scenario(replace=OPAQUE)
async def an_smtp_server_waits_for_its_annotation_and_joins(scene: Scene) -> None:
    """Its configuration says opaque, and the mesh does not know it yet."""
    async with nobody_lost(scene, SMTP) as clients, open_all_along():
        await scene.start_agent()
        await named(scene, Reason.REDIRECT_PENDING)
        await clients.more()
        assert set(clients.seen) == {network.CLUSTER, network.CLUSTER6}
        annotate(scene.api, str(PORT))
        await joined(scene, clients)


@scenario(replace=TCP)
async def an_smtp_server_that_is_not_opaque_is_not_redirected(scene: Scene) -> None:
    """Until root says so."""
    async with nobody_lost(scene, SMTP) as clients:
        await scene.start_agent()
        await until(scene, lambda s: s["goals"]["outbound"] == "on", "the last change of a goal")
        await named(scene, Reason.SERVER_SPEAKS_FIRST)
        _, text = await scene.cli("status")
        assert f"{COMMAND} config.linkerd.io/opaque-ports={PORT}; set workload.opaque_ports = [{PORT}]" in text, (
            text
        )
        await clients.more()
        assert set(clients.seen) == {network.CLUSTER, network.CLUSTER6}
    code, output = await scene.cli("join", "--force", "--timeout", "60")
    assert code == 0, output
    await until(scene, lambda s: s["facts"]["redirect"]["inbound"] == "on", "the redirect")


@scenario(replace=OPAQUE)
async def the_annotation_of_an_opaque_port_is_removed_and_comes_back(scene: Scene) -> None:
    """The proxy's environment does not help once the policy controller has answered."""
    program.write_executable(scene.base / "linkerd2-proxy", LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT="300ms")
    annotate(scene.api, "22-25,http")  # the port by its name
    async with nobody_lost(scene, MYSQL) as clients:
        await scene.start_agent()
        await joined(scene, clients)
    annotate(scene.api, "22-25")
    await named(scene, Reason.OPAQUE_PORTS_MISMATCH, ready=True)
    _, text = await scene.cli("status")
    assert f"{COMMAND} --overwrite config.linkerd.io/opaque-ports=22-25,{PORT}" in text, text
    await _until_greeted(False)
    annotate(scene.api, f"22-25,{PORT}")
    await _until_greeted(True)
    await until(scene, _agree, "agreement")


async def _until_greeted(wanted: bool) -> None:
    async with asyncio.timeout(30):
        while await _is_greeted() is not wanted:
            await asyncio.sleep(0.05)


async def _is_greeted() -> bool:
    try:
        await greeted(network.HOST, PORT)
    except ConnectionError:
        return False
    return True


def _agree(status: dict[str, Any]) -> bool:
    return Reason.OPAQUE_PORTS_MISMATCH.value not in [problem["reason"] for problem in status["problems"]]
