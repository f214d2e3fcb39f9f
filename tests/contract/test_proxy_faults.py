"""A stand-in that is set to misbehave does so like the real one, and no reading of it counts as healthy."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from agent.core import proxy
from agent.core.facts import UNKNOWN, ProxyState
from agent.core.proxy import ProxySettings, Reading
from agent.core.proxy_end import lost_a_worker
from agent.core.reasons import Fault, Reason
from agent.sandbox.proxy import program as standin
from tests.lab import memory_cgroup
from tests.lab.child_proxies import BASE, IDENTITY, SETTINGS, UID, Options, ProxyHost, only_child

pytestmark = pytest.mark.real


@pytest.fixture
async def host(root: None) -> AsyncIterator[ProxyHost]:
    async with ProxyHost() as host:
        yield host


async def told(host: ProxyHost, settings: ProxySettings, **switches: str) -> AsyncGenerator[Reading, None]:
    """What a stand-in with these switches says, again and again."""
    standin.write_executable(host.path("switched"), **switches)
    options = Options(binary=str(BASE / "switched"), settings=settings)
    async with host.agent(options) as runtime, asyncio.timeout(30):
        process = await runtime.start()
        while True:
            yield await runtime.inspect(process)
            await asyncio.sleep(0.05)


async def test_a_proxy_that_lies_in_ready_is_not_believed(host: ProxyHost) -> None:
    settings = dataclasses.replace(SETTINGS, identity=f"{IDENTITY}-other")
    async with contextlib.aclosing(told(host, settings, **{standin.LIE: "1"})) as readings:
        async for reading in readings:
            state, fault, _ = proxy.judge(reading, UID, 0.0)
            assert state is not ProxyState.READY
            if reading.ready is True and reading.certificate_expires == 0.0:
                break
    assert fault is not None and fault.reason is Reason.PROXY_UNCERTIFIED


@pytest.mark.parametrize(("version", "looked_for"), [("2.340.0", True), ("2.366.0", False)])
async def test_a_proxy_whose_worker_died_says_so_in_its_log(
    host: ProxyHost, version: str, looked_for: bool
) -> None:
    settings, seen = dataclasses.replace(SETTINGS, version=version), set()
    async with contextlib.aclosing(told(host, settings, **{standin.DEAD_WORKER: "1"})) as readings:
        async for reading in readings:
            said = lost_a_worker(host.path("log/proxy.log").read_text())
            seen.add(reading.worker_lost)
            if reading.worker_lost is True or (said and not looked_for):
                break
    assert seen == ({False, True} if looked_for else {UNKNOWN})
    assert not looked_for or proxy.judge(reading, UID, 0.0)[1] == Fault(Reason.PROXY_WORKER_DEAD)


async def test_a_proxy_that_leaks_is_killed_for_want_of_memory_and_not_by_somebody(host: ProxyHost) -> None:
    standin.write_executable(host.path("leaking"), **{standin.LEAK: "64"})
    with memory_cgroup.group(192 << 20) as group:
        async with host.agent(Options(binary=str(BASE / "leaking"))) as runtime, asyncio.timeout(90):
            await runtime.adopt()
            (group / "cgroup.procs").write_text(str(only_child(runtime.process.pid)))
            process = await runtime.start()
            assert (await runtime.wait(process)).reason is Reason.PROXY_OUT_OF_MEMORY
            process = await runtime.start()
            await runtime.kill(process)
            assert (await runtime.wait(process)).reason is Reason.PROXY_KILLED


async def test_one_that_was_adopted_too(host: ProxyHost) -> None:
    standin.write_executable(host.path("leaking"), **{standin.LEAK: "64"})
    options = Options(binary=str(BASE / "leaking"))
    with memory_cgroup.group(192 << 20) as group:
        async with host.agent(options) as first:
            process = await first.start()
            await host.run("sh", "-c", f"echo {process.pid} > {group}/cgroup.procs")
            await first.die()
        async with host.agent(options) as second, asyncio.timeout(90):
            assert await second.adopt() == process
            assert (await second.wait(process)).reason is Reason.PROXY_OUT_OF_MEMORY
