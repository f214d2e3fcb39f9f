"""Prints how fast a death of the application reaches the API server, and what a host writes in an hour.

    python -m benchmarks.status       (with the real API server built: make test)

The first is measured on a real kube-apiserver: a TCP listener that is closed, until the patch can be read there.
The second is counted in virtual time.
"""

import asyncio
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import looptime

from agent.adapters import probes
from agent.core import facts as f
from agent.core.probe import ProbeSpec
from agent.loops.board import Board
from agent.loops.policy import PolicyLoop
from agent.loops.probe import ProbeLoop
from agent.loops.status import StatusLoop
from tests.contract import status_worlds
from tests.core.test_policy import serving
from tests.core.world import SPEC
from tests.lab.realparts import ApiServer
from tests.loops.running import running
from tests.loops.virtual_hour import an_hour, falls

ROUNDS = {1.0: 5, 10.0: 2}


def main() -> None:
    with ApiServer() as server, tempfile.TemporaryDirectory() as folder:
        for period, rounds in ROUNDS.items():
            found = [asyncio.run(death_to_patch(server, Path(folder), period)) for _ in range(rounds)]
            spread = f"least {min(found):.2f} s, median {statistics.median(found):.2f} s, most {max(found):.2f} s"
            print(f"period {period:g} s, threshold 1, {rounds} deaths: death to patch {spread}", flush=True)
    for name, flap in (("idle", None), ("flapping every 3 s", 3.0)):
        loop = looptime.new_event_loop(start=0)
        api = loop.run_until_complete(an_hour(flap))
        loop.close()
        print(f"an hour, {name}: {len(api.patches)} status writes, of which {falls(api)} falls")


async def death_to_patch(server: ApiServer, folder: Path, period: float) -> float:
    """Seconds from the closing of the application's listener to Ready=False at the API server."""
    application = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1")
    port = application.sockets[0].getsockname()[1]
    spec = ProbeSpec("app", "tcp", "127.0.0.1", port, period=period, failure_threshold=1)
    async with status_worlds.real(server, folder) as world:
        await world.create()
        seen = await world.api.read()
        policy = dataclasses.replace(
            SPEC, identity=seen.identity, server_name=seen.server_name, addresses=seen.addresses, ports=seen.ports
        )
        board = well(policy.identity)
        loops = (
            ProbeLoop(probes.HostProber(), [spec], board.setter("probes")).run(),
            PolicyLoop(policy, board, board.setter("agent")).run(),
            StatusLoop(world.api, policy, board, board.setter("workload"), wall, lambda: 0.5).run(),
        )
        async with running(*loops):
            await ready(world, "True")
            await asyncio.sleep(period / 3)
            application.close()
            died = time.monotonic()
            await ready(world, "False")
            return time.monotonic() - died


def well(identity: str) -> Board:
    board, now = Board(), asyncio.get_running_loop().time()
    svid = f.IdentityFact(f.Svid(identity, "", 0, 0), now + 1e6)
    proxy = f.ProxyFact(f.ProxyState.READY, certificate_expires_at=now + 1e6)
    facts = serving(identity=svid, proxy=proxy, agent=f.AgentFact(now), lease=f.LeaseFact(""))
    board.facts.set(dataclasses.replace(facts, probes=f.UNKNOWN, workload=f.UNKNOWN))
    board.phase.set(f.Phase(f.PhaseKind.MEMBER, now))
    return board


async def ready(world: status_worlds.HttpWorld, status: str) -> None:
    async with asyncio.timeout(60):
        while True:
            found = (await world.raw()).get("status", {}).get("conditions", [{}])
            if found[0].get("status") == status:
                return
            await asyncio.sleep(0.01)


def wall() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


if __name__ == "__main__":
    main()
