"""The scenario `hitless`: one host serves a Service alone, and its proxy is replaced, and killed, while a meshed
client asks 50 times a second. Each step counts the requests that were sent in it.

Nothing of systemd runs here, so the agent starts the proxies of both slots itself, and it turns the redirect also
when one dies; on a host fairlead-takeover.service does that, sooner. The rules and the records are the same.
"""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.sandbox.identity.ca import Authority
from agent.sandbox.stage import network
from agent.sandbox.stage.background import background
from agent.sandbox.stage.client import mesh_context
from agent.sandbox.stage.http2_client import MeshedLoad
from agent.sandbox.stage.scene import PORT, SERVER_NAME, TRUST_DOMAIN, Options, Scene
from agent.sandbox.stage.tour import PATIENCE, Step, is_ready, must, until
from agent.sandbox.stage.upgrade import FIRST, NEXT, install

SETTINGS = {
    f', "{network.HOST6}"]': "]",
    "[proxy]\n": "[proxy]\nslots = true\nready_within = 20\n",
    'kind = "http"\npath = "/healthz"\n': 'kind = "tcp"\n',
    "[api]\n": "anchors_window = 0\n\n[api]\n",
}
RETRIES = 2  # of a request that is lost with its proxy, as retry.linkerd.io/limit sets it
FEW = 50  # requests before and after what a step does


def serves_alone(status: dict[str, Any]) -> bool:
    """The proxy of main serves, and no other runs."""
    facts = status["facts"]
    standby = facts["standby"] != "unknown" and facts["standby"]["state"] == "stopped"
    over = facts["replacement"] is None or facts["replacement"]["stage"] == "done"
    return is_ready(status) and facts["redirect"]["slot"] == "main" and standby and over


def ends_with_a_connection(status: dict[str, Any]) -> bool:
    proxy = status["facts"]["proxy"]
    return bool(proxy != "unknown" and proxy["state"] == "stopping" and proxy["in_flight"])


def stands_by(status: dict[str, Any]) -> bool:
    facts = status["facts"]
    ready = facts["standby"] != "unknown" and facts["standby"]["state"] == "ready"
    return is_ready(status) and facts["redirect"]["slot"] == "main" and ready


@dataclass
class Hitless:
    host: Scene
    client: MeshedLoad

    def steps(self) -> list[Step]:
        fairlead = "fairlead proxy"
        return [
            Step("one host", "joins with two slots, and serves alone", self._join),
            Step("upgrade", "replaces the proxy by another", self._upgrade, f"{fairlead} upgrade {NEXT}"),
            Step("rollback", "goes back", self._rollback, f"{fairlead} rollback"),
            Step("new trust anchors", "adds an anchor, which the proxy reads at its start", self._anchors),
            Step("restart", "restarts the same one", self._restart, f"{fairlead} restart"),
            Step("kill -9", "keeps a standby, and kills the proxy that serves", self._kill),
        ]

    async def _join(self, _: Scene) -> str:
        await install(self.host, FIRST)
        await install(self.host, NEXT)
        await self.host.start_app()
        await self.host.start_agent()
        await until(self.host, serves_alone, "Ready=True")
        must(self.client.sent == 0, "the client asked too early")
        return await self._counted(self._nothing)

    async def _nothing(self) -> str:
        return "meshed, one connection of HTTP/2"

    async def _upgrade(self, _: Scene) -> str:
        said = await self._replaced(self._upgraded_with_a_stream, NEXT)
        return f"a stream ended in the old proxy, which status showed; {said}"

    async def _upgraded_with_a_stream(self) -> None:
        """A request that has begun before is answered by the old proxy, while that ends."""
        held = asyncio.create_task(self.client.ask("/held"))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ordered("upgrade", NEXT)())
            await until(self.host, ends_with_a_connection, "the old proxy ending, with a connection")
            _, screen = await self.host.cli("status")
            must(re.search(r"main proxy .* stopping, \d+ connections? left", screen) is not None, screen)
            must(not held.done(), "the stream was cut")
            await self.client.ask("/release")
        must(await held == "200", "the stream was not answered")

    async def _rollback(self, _: Scene) -> str:
        return await self._replaced(self._ordered("rollback"), FIRST)

    async def _restart(self, _: Scene) -> str:
        return await self._replaced(self._ordered("restart"), FIRST)

    async def _anchors(self, _: Scene) -> str:
        async def add() -> None:
            both = self.host.ca.pem + Authority(TRUST_DOMAIN).pem
            await asyncio.to_thread((self.host.prefix / "etc/fairlead/anchors.pem").write_text, both)

        return await self._replaced(add, FIRST)

    async def _kill(self, _: Scene) -> str:
        """A request that is on its way when its proxy is killed is lost: the client may repeat it, as Linkerd's
        retries do."""
        path = self.host.prefix / "etc/fairlead/fairlead.toml"
        text = path.read_text().replace("slots = true\n", "slots = true\nstandby = true\n")
        await asyncio.to_thread(path.write_text, text)
        code, output = await self.host.cli("reload")
        must(code == 0, f"exit {code}: {output}")
        self.client.retries = RETRIES
        return await self._counted(self._killed)

    async def _killed(self) -> str:
        status = await until(self.host, stands_by, "a standby that is ready")
        before, again, ready = _pid(status), self.client.again, self._ready()
        os.kill(before, signal.SIGKILL)
        await until(self.host, lambda s: s["facts"]["redirect"]["slot"] == "standby", "the standby serving")
        await self._more(FEW)
        await until(self.host, lambda s: stands_by(s) and _pid(s) != before, "main serving again")
        await self._more(FEW)
        must(self._ready() == ready, "Ready was written")
        lost = self.client.again - again
        said = "the standby took over, and main serves again, Ready=True all the time"
        return f"{said}; requests that were lost and sent again by the client: {lost}"

    # what each step does --------------------------------------------------------------------------

    def _ordered(self, *words: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def order() -> None:
            code, output = await self.host.cli("proxy", *words)
            must(code == 0, f"exit {code}: {output}")

        return order

    async def _replaced(self, begin: Callable[[], Awaitable[None]], version: str) -> str:
        async def run() -> str:
            before, ready = _pid(await until(self.host, serves_alone, "main")), self._ready()
            await begin()
            after = await until(self.host, lambda s: serves_alone(s) and _pid(s) != before, "a new proxy")
            must(after["facts"]["replacement"]["covered"], "the host was drained")
            must(after["proxy_version"] == version, f"the proxy is {after['proxy_version']}")
            must(self._ready() == ready, "Ready was written")
            must(self.client.again == 0, "a request was lost")
            return f"{version} serves, Ready=True all the time"

        return await self._counted(run)

    async def _counted(self, run: Callable[[], Awaitable[str]]) -> str:
        """Of the requests that are sent from here on until some have gone to what serves then."""
        sent, failed, self.client.slowest = self.client.sent, len(self.client.failed), 0.0
        async with background(self.client.run()):
            await self._more(FEW)
            said = await run()
            await self._more(FEW)
        lost, count = self.client.failed[failed:], self.client.sent - sent
        figures = f"{len(lost)} of {count} failed, the slowest took {self.client.slowest * 1000:.0f} ms"
        must(not lost, f"{figures}: {lost[:3]}")
        return f"{said}; {figures}"

    def _ready(self) -> list[dict[str, Any]]:
        """The condition, with the time of its last change."""
        return [one for one in self.host.workload()["status"]["conditions"] if one["type"] == "Ready"]

    async def _more(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.client.reached(self.client.sent + count)


def _pid(status: dict[str, Any]) -> int:
    return int(status["facts"]["proxy"]["process"]["pid"])


@contextlib.asynccontextmanager
async def standing(base: Path, log: int | None) -> AsyncIterator[Hitless]:
    options = Options(log=log, replace=SETTINGS, installed=True, versions=1, app="http2_app")
    async with Scene(base, options).standing() as host:
        context = mesh_context(host.ca, f"spiffe://{TRUST_DOMAIN}/client")
        yield Hitless(host, MeshedLoad(network.HOST, PORT, SERVER_NAME, context))
