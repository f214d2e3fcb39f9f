"""An hour of a host in virtual time: decision and status loop, an application that flaps, and what is written."""

import asyncio
from collections.abc import Callable

from agent.core import facts as f
from agent.loops.board import Board
from agent.loops.policy import PolicyLoop
from agent.loops.status import StatusLoop
from tests.core import world
from tests.core.test_policy import serving
from tests.core.world import SPEC
from tests.fakes.status_api import MemoryStatusApi
from tests.loops.running import running

HOUR = 3600.0


def nothing(board: Board, turn: int) -> None:
    """At each turn of the application."""


async def an_hour(flap: float | None, also: Callable[[Board, int], None] = nothing) -> MemoryStatusApi:
    """The API server after an hour in which the application's verdict turned every `flap` seconds; None: never.
    The write that began the day is taken off."""
    api, board, now = MemoryStatusApi(), Board(), asyncio.get_running_loop().time()
    api.create(f.Workload("", "", SPEC.identity, SPEC.server_name, SPEC.addresses, SPEC.ports))
    far = now + 1e6
    identity = f.IdentityFact(f.Svid(SPEC.identity, "", 0, 0), far)
    proxy = f.ProxyFact(f.ProxyState.READY, certificate_expires_at=far, control=f.Control(True))
    workload = board.facts.value.workload
    well = serving(
        identity=identity, proxy=proxy, workload=workload, agent=f.AgentFact(now), lease=f.LeaseFact("")
    )
    board.facts.set(well)
    board.phase.set(f.Phase(f.PhaseKind.MEMBER, now))
    status = StatusLoop(api, SPEC, board, board.setter("workload"), lambda: "2026-01-01T00:00:00Z", lambda: 0.0)
    async with running(PolicyLoop(SPEC, board, board.setter("agent")).run(), status.run()):
        await asyncio.sleep(10)
        api.patches.clear()
        for n in range(int(HOUR / flap) if flap else 1):
            board.setter("probes")(world.probes("pass" if n % 2 or flap is None else "fail"))
            also(board, n)
            await asyncio.sleep(flap or HOUR)
    return api


def falls(api: MemoryStatusApi) -> int:
    """How often Ready was removed."""
    ready = [next(c.status for c in patch if c.type == "Ready") for patch in api.patches]
    return sum(a != "False" == b for a, b in zip(["True", *ready], ready, strict=False))
