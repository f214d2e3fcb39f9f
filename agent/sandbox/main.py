"""fairlead sandbox: private namespaces, a scene in them, and a tour of it."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from agent.sandbox.stage import broken, dead_host, first_day, fleet, hitless, namespaces, terminal, upgrade
from agent.sandbox.stage.interactive import Visit
from agent.sandbox.stage.scene import Options, Scene
from agent.sandbox.stage.tour import Step, Tour, take


def run(*, check: bool, proxy: Path | None, verbose: bool, scenario: str = "tour") -> int:
    """0: every check passed, or the visitor left; 1: one did not."""
    if not namespaces.inside():
        with terminal.kept():
            return namespaces.run_inside([sys.executable, *sys.orig_argv[1:]])
    base = namespaces.settle(*namespaces.python_roots(), *([proxy.resolve().parent] if proxy else []))
    options = Options(proxy=proxy.resolve() if proxy else None, log=2 if verbose else None)
    match scenario:
        case "upgrade":
            return asyncio.run(_upgrade(base, options.log))
        case "hitless":
            return asyncio.run(_hitless(base, options.log))
        case "dead-host":
            return asyncio.run(_dead_host(base, options.log))
        case "fleet":
            return asyncio.run(_fleet(base, options.log))
        case "first-day":
            return asyncio.run(_first_day(base, options.log))
        case name if name in broken.BROKEN:
            return asyncio.run(_broken(base, name, options.log))
    if not check and not terminal.can_ask():
        print("standard input is not a terminal: the tour runs without pauses\n", flush=True)
        check = True
    if not check:
        terminal.lead()
    return asyncio.run(_visit(Scene(base, options), check))


async def _upgrade(base: Path, log: int | None) -> int:
    async with upgrade.standing(base, log) as scenario:
        return await _check(scenario.one, scenario.steps())


async def _hitless(base: Path, log: int | None) -> int:
    async with hitless.standing(base, log) as scenario:
        return await _check(scenario.host, scenario.steps())


async def _dead_host(base: Path, log: int | None) -> int:
    async with dead_host.standing(base, log) as scenario:
        return await _check(scenario.hosts[0], scenario.steps())


async def _fleet(base: Path, log: int | None) -> int:
    async with fleet.standing(base, log) as scenario:
        return await _check(scenario.hosts[0], scenario.steps())


async def _first_day(base: Path, log: int | None) -> int:
    async with first_day.standing(base, log) as scenario:
        return await _check(scenario.host.scene, scenario.steps())


async def _broken(base: Path, name: str, log: int | None) -> int:
    async with broken.standing(base, name, log) as scenario:
        return await _check(scenario.scene, scenario.steps())


async def _visit(scene: Scene, check: bool) -> int:
    began = time.monotonic()
    async with scene.standing():
        print(f"the scene is ready ({time.monotonic() - began:.1f} s): a host, a cluster beside it\n", flush=True)
        tour = Tour(real_proxy=scene.options.proxy is not None)
        return await (_check(scene, tour.steps()) if check else Visit(scene, tour).run())


async def _check(scene: Scene, steps: Sequence[Step]) -> int:
    passed = 0
    for number, step in enumerate(steps, 1):
        print(f"{number:2}. {step.name}: {step.does}", flush=True)
        if not await take(scene, step):
            break
        passed += 1
    print(f"\nsandbox: {passed} of {len(steps)} checks passed", flush=True)
    return 0 if passed == len(steps) else 1
