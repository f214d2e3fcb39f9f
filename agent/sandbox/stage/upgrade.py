"""The scenario `upgrade`: two hosts serve one Service, and a client that chooses among them by EndpointSlices sees
no error while agents and proxies are replaced."""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from agent.sandbox.api.server import ApiServer
from agent.sandbox.proxy import program
from agent.sandbox.stage.background import background
from agent.sandbox.stage.client import Load
from agent.sandbox.stage.scene import PORT, Options, Scene, listed
from agent.sandbox.stage.tour import PATIENCE, Step, is_ready, must, status_writes, until

FIRST, NEXT, BROKEN = "2.360.0", "2.366.0", "2.367.0"
LAG = 0.3  # seconds from a slice to the client that reads it
SETTINGS = {"grace = 10\n": "grace = 10\nready_within = 20\n"}


class Chooser:
    """A client's view of the Service, a moment behind the slices."""

    def __init__(self, api: ApiServer) -> None:
        self._api, self._turns = api, itertools.count()
        self.hosts: list[str] = []

    async def run(self) -> None:
        while True:
            news, versions = self._api.store.news(), listed(self._api)
            await asyncio.sleep(LAG)
            self.hosts = versions
            await news.wait()

    def url(self) -> str:
        """Where no host is listed, the client gets an error, as expected."""
        hosts = self.hosts or ["192.0.2.1"]
        return f"http://{hosts[next(self._turns) % len(hosts)]}:{PORT}/"


@dataclass
class Upgrade:
    """`one`, `two`: the hosts."""

    one: Scene
    two: Scene
    client: Load

    def steps(self) -> list[Step]:
        fairlead = "fairlead proxy"
        return [
            Step("two hosts", "join, with a proxy that was installed", self._join, f"{fairlead} install FILE"),
            Step("agent restarted", "stops the agent and starts it again", self._restart),
            Step("agent killed", "kills the agent with SIGKILL, and starts it again", self._kill),
            Step("proxy upgraded", "replaces the proxy by another", self._upgrade, f"{fairlead} upgrade {NEXT}"),
            Step("rollback, killed", "goes back, and kills the agent", self._killed, f"{fairlead} rollback"),
            Step("upgrade fails", "tries one that cannot start", self._broken, f"{fairlead} upgrade {BROKEN}"),
            Step("proxy restarted", "restarts the same one, drained first", self._anew, f"{fairlead} restart"),
        ]

    async def _join(self, _: Scene) -> str:
        await install(self.one, FIRST)
        await install(self.one, NEXT)
        await install(self.one, BROKEN, **{program.CRASH: "64"})
        await install(self.two, FIRST)
        for host in (self.one, self.two):
            await host.start_app()
            await host.start_agent()
        for host in (self.one, self.two):
            await until(host, is_ready, "Ready=True")
        await self._more(20)
        return f"{len(self.one.listed())} hosts in the EndpointSlices; {self._count()}"

    async def _restart(self, _: Scene) -> str:
        return await self._agent_anew(self.one.end_agent())

    async def _kill(self, _: Scene) -> str:
        return await self._agent_anew(self.one.kill_agent())

    async def _agent_anew(self, end: "object") -> str:
        before, writes = await self._pid(), status_writes(self.one)
        await end  # type: ignore[misc]
        await self._more(20)
        await self.one.start_agent()
        await until(self.one, is_ready, "Ready=True")
        must(await self._pid() == before, "the proxy was replaced")
        must(status_writes(self.one) == writes, "Ready was written")
        await self._more(20)
        return f"same proxy (pid {before}), no write to Ready; {self._count()}"

    async def _upgrade(self, _: Scene) -> str:
        before = await self._pid()
        code, output = await self.one.cli("proxy", "upgrade", NEXT)
        must(code == 0, f"exit {code}: {output}")
        must(await self._pid() != before, "the proxy is still the old one")
        await self._runs(NEXT)
        await self._more(20)
        return f"{NEXT} serves; {self._count()}"

    async def _killed(self, _: Scene) -> str:
        rollback = asyncio.create_task(self.one.cli("proxy", "rollback"))
        await until(self.one, lambda s: (s["facts"]["replacement"] or {}).get("stage") == "leaving", "rollback")
        await self.one.kill_agent()
        await self._more(10)
        await self.one.start_agent()
        code, output = await rollback
        must(code == 0, f"exit {code}: {output}")
        await self._runs(FIRST)
        await self._more(20)
        return f"the next agent went on with it, and {FIRST} serves; {self._count()}"

    async def _broken(self, _: Scene) -> str:
        code, output = await self.one.cli("proxy", "upgrade", BROKEN)
        must(code == 1 and f"{FIRST} serves again" in output, f"exit {code}: {output}")
        await until(self.one, is_ready, "Ready=True")
        await self._runs(FIRST)
        await self._more(20)
        return f"reverted to {FIRST} automatically; {self._count()}"

    async def _anew(self, _: Scene) -> str:
        before = await self._pid()
        code, output = await self.one.cli("proxy", "restart")
        must(code == 0, f"exit {code}: {output}")
        must(await self._pid() != before, "the proxy is still the old one")
        await self._more(20)
        return f"a new process of {FIRST}; {self._count()}"

    # checks --------------------------------------------------------------------------

    async def _pid(self) -> int:
        return int((await until(self.one, is_ready, "Ready=True"))["facts"]["proxy"]["process"]["pid"])

    async def _runs(self, version: str) -> None:
        status = await until(self.one, is_ready, "Ready=True")
        must(status["proxy_version"] == version, f"the proxy is {status['proxy_version']}")

    async def _more(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.client.reached(self.client.sent + count)

    def _count(self) -> str:
        """Of every request so far; one that failed is a step that missed."""
        failed = self.client.failed
        must(not failed, f"{len(failed)} of {self.client.sent} requests failed: {failed[:3]}")
        return f"{self.client.sent} requests so far, none failed"


async def install(scene: Scene, version: str, **switches: str) -> None:
    """A stand-in under that version, as an operator would."""
    binary = scene.base / f"{scene.name}-{version}"
    program.write_executable(binary, **switches)
    digest = hashlib.sha256(binary.read_bytes()).hexdigest()
    code, output = await scene.cli("proxy", "install", str(binary), "--sha256", digest, "--version", version)
    must(code == 0, f"exit {code}: {output}")


@contextlib.asynccontextmanager
async def standing(base: Path, log: int | None) -> AsyncIterator[Upgrade]:
    """Both hosts, and a running client."""
    options = Options(log=log, replace=SETTINGS, installed=True)
    async with Scene(base, options).standing() as one, Scene(base, options, beside=one).standing() as two:
        chooser = Chooser(one.api)
        load = Load(chooser.url)
        async with background(chooser.run(), _send(one, load)):
            yield Upgrade(one, two, load)


async def _send(scene: Scene, load: Load) -> None:
    """Once both hosts are listed."""
    while len(scene.listed()) < 2:
        await scene.api.store.news().wait()
    await asyncio.sleep(2 * LAG)
    await load.run()
