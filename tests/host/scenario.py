"""Fault scenarios of a host, each run by the real agent as a process.

In none of them does the agent exit, spin, leak, or lie in Ready; `fairlead status` names the reason and the way
out; and when the trouble is over the host serves.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.core.reasons import REGISTRY, Reason
from agent.sandbox.api.server import LEASES
from agent.sandbox.stage import network
from agent.sandbox.stage.client import ask
from agent.sandbox.stage.scene import NAME, NAMESPACE, Options, Scene
from agent.sandbox.stage.tour import PATIENCE, URL, is_ready, until
from tests.lab import reached_reasons

LONGEST = 100.0  # seconds for one scenario
TICKS = 100  # of /proc, a second


@dataclass(frozen=True)
class Scenario:
    run: Callable[[Scene], Awaitable[None]]
    options: Options = field(default_factory=Options)
    longest: float = LONGEST


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    longest: float = LONGEST, **options: Any
) -> Callable[[Callable[[Scene], Awaitable[None]]], Callable[[Scene], Awaitable[None]]]:
    def add(run: Callable[[Scene], Awaitable[None]]) -> Callable[[Scene], Awaitable[None]]:
        SCENARIOS[run.__name__] = Scenario(run, Options(**options), longest)
        return run

    return add


async def named(scene: Scene, reason: Reason, *, ready: bool = False) -> None:
    """The agent runs without spinning, reports why, and Ready is correct."""
    await until(scene, lambda s: any(p["reason"] == reason.value for p in s["problems"]), reason.value)
    assert (scene.ready()[0] == "True") is ready, scene.ready()
    await calm(scene)
    told = await _told(scene, reason)
    # A problem has the remedy of its reason, or one of its own.
    assert not REGISTRY[reason].remedy or told.splitlines()[1].strip().startswith("→ "), told
    reached_reasons.tell(reason)


async def _told(scene: Scene, reason: Reason) -> str:
    """What `fairlead status` shows from this problem on. A proxy that ends again and again is starting in between,
    for some milliseconds."""
    text = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                _, text = await scene.cli("status")
                _, _, told = text.partition(f"\n  {reason.value}: ")  # the headline names it too
                if told:
                    return told
    raise AssertionError(f"no {reason.value} in:\n{text}")


async def calm(scene: Scene) -> None:
    """It runs, and uses less than half a core: a busy loop uses a whole one."""
    assert scene.agent is not None and scene.agent.returncode is None, "the agent has ended"
    stat = Path(f"/proc/{scene.agent.pid}/stat")
    before = _ticks(stat)
    await asyncio.sleep(1)
    assert _ticks(stat) - before < TICKS / 2, "the agent spins"


def _ticks(stat: Path) -> int:
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def descriptors(scene: Scene) -> int:
    assert scene.agent is not None
    return len(list(Path(f"/proc/{scene.agent.pid}/fd").iterdir()))


async def no_more_descriptors(scene: Scene, before: int, spare: int = 2) -> None:
    """A few more may be open at the moment, for a connection or a program; what leaks stays open."""
    async with asyncio.timeout(60):
        while descriptors(scene) > before + spare:
            await asyncio.sleep(0.05)


async def serves(scene: Scene) -> None:
    await until(scene, is_ready, "Ready=True")
    assert (await ask(URL))["from"] == network.HOST, "through the proxy"


async def started(scene: Scene) -> None:
    await scene.start_app()
    await scene.start_agent()


async def serving(scene: Scene) -> None:
    await started(scene)
    await serves(scene)


def marked(body: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    """The object with these annotations more."""
    meta = body["metadata"]
    return {**body, "metadata": {**meta, "annotations": {**meta.get("annotations", {}), **annotations}}}


async def until_it_is_written(scene: Scene, annotation: str, value: str) -> None:
    """Into the host's Lease."""
    async with asyncio.timeout(PATIENCE):
        while scene.api.get(LEASES, NAMESPACE, NAME)["metadata"].get("annotations", {}).get(annotation) != value:
            await asyncio.sleep(0.05)
