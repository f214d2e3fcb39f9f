"""The agents' own loops with the real API adapters, all else faked; and the API server restarted under them."""

import asyncio
import dataclasses
import math
import random
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress

from agent.adapters.kube import KubeApi
from agent.core.facts import AgentFact, IdentityFact, Phase, PhaseKind, ProxyFact, ProxyState, Svid
from agent.host import clocks
from agent.loops.board import Board
from agent.loops.lease import LeaseLoop
from agent.loops.policy import PolicyLoop
from agent.loops.status import StatusLoop
from benchmarks.hosts import Fixed, Hosts
from benchmarks.usage import Usage, requests, resident
from tests.core.test_policy import serving
from tests.core.world import SPEC
from tests.lab.realparts import ApiServer
from tests.loops.running import running

PERIOD = 10.0
WITHIN = 120.0  # seconds, until all have renewed


async def measure(count: int, seconds: float) -> None:
    with ApiServer() as server:
        hosts = Hosts(server, count, PERIOD)
        await hosts.enrol()
        apis = {name: KubeApi(Fixed(server), namespace=hosts.namespace, name=name) for name in hosts.names}
        loops = [loop for name, api in apis.items() for loop in _agent(hosts, name, api)]
        async with running(*loops):
            await _renewed(server, hosts, await _versions(server, hosts))
            await _at_rest(server, seconds)
            await _restarted(server, hosts)
        for api in apis.values():
            await api.close()
        await hosts.close()


def _agent(hosts: Hosts, name: str, api: KubeApi) -> Iterator[Coroutine[None, None, None]]:
    """What an agent runs at the API server, of a host that is well."""
    identity, board, now = f"spiffe://td/{name}", Board(), asyncio.get_running_loop().time()
    spec = dataclasses.replace(
        SPEC, identity=identity, server_name=f"{name}.td", addresses=(hosts.address(name),), ports=(8080,)
    )
    svid = IdentityFact(Svid(identity, "", 0, 0), now + 1e6)
    proxy = ProxyFact(ProxyState.READY, certificate_expires_at=now + 1e6)
    board.facts.set(serving(identity=svid, proxy=proxy, agent=AgentFact(now)))
    board.phase.set(Phase(PhaseKind.MEMBER, now))
    dice = random.random
    yield PolicyLoop(spec, board, board.setter("agent")).run()
    yield StatusLoop(api, spec, board, board.setter("workload"), clocks.wall, dice).run()
    yield LeaseLoop(api, spec, board, board.setter("lease"), name, clocks.exact_wall, dice, period=PERIOD).run()


async def _at_rest(server: ApiServer, seconds: float) -> None:
    usage, before = Usage(server.pids), requests(server)
    usage.since()
    await asyncio.sleep(seconds)
    used, rate = usage.since(), (requests(server) - before) / seconds
    cores = ", ".join(f"{name} {100 * one / seconds:.0f} %" for name, one in used.items())
    sizes = ", ".join(f"{name} {resident(pid):.0f} MiB" for name, pid in server.pids.items())
    print(f"at rest {rate:.1f} requests/s; CPU of a core: {cores}; {sizes}", flush=True)


async def _restarted(server: ApiServer, hosts: Hosts) -> None:
    before = await _versions(server, hosts)
    began, rates = time.monotonic(), list[float]()
    restart = asyncio.create_task(asyncio.to_thread(server.restart))
    async with running(_sample(server, rates)):
        await _renewed(server, hosts, before)
        took = time.monotonic() - began
        await restart
    most = max(rates, default=0.0)
    print(
        f"API server killed and started again: all renewed {took:.0f} s after, at most {most:.0f} requests/s",
        flush=True,
    )


async def _sample(server: ApiServer, rates: list[float]) -> None:
    """Requests of each second, without end. A server that was started again counts from 0."""
    before, at = math.inf, time.monotonic()
    while True:
        await asyncio.sleep(1)
        try:
            now = await asyncio.to_thread(requests, server)
        except OSError:
            now = 0.0
        then = time.monotonic()
        if now >= before:
            rates.append((now - before) / (then - at))
        before, at = now, then


async def _renewed(server: ApiServer, hosts: Hosts, before: dict[str, str]) -> None:
    """Each Lease has changed since `before`."""
    async with asyncio.timeout(WITHIN):
        while True:
            with suppress(OSError, AssertionError):  # it is away, or starting
                now = await _versions(server, hosts)
                if all(now[name] != version for name, version in before.items()):
                    return
            await asyncio.sleep(0.5)


async def _versions(server: ApiServer, hosts: Hosts) -> dict[str, str]:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{hosts.namespace}/leases"
    found = await asyncio.to_thread(server.must, "GET", path)
    return {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in found["items"]}
