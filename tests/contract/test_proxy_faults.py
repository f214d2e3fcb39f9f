"""A stand-in that is told to misbehave does so in the real one's way, and no reading of it is taken for health."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from agent.core import proxy
from agent.core.facts import ProxyState
from agent.core.proxy import Reading
from agent.core.proxy_end import lost_a_worker
from agent.core.reasons import Reason
from agent.sandbox import proxy as standin
from tests.proxyhost import BASE, IDENTITY, SETTINGS, UID, Options, ProxyHost

pytestmark = pytest.mark.real


@pytest.fixture
async def host(root: None) -> AsyncIterator[ProxyHost]:
    async with ProxyHost() as host:
        yield host


async def told(host: ProxyHost, identity: str, **switches: str) -> AsyncGenerator[Reading, None]:
    """What a stand-in with these switches says, again and again."""
    standin.write_executable(host.path("switched"), **switches)
    options = Options(binary=str(BASE / "switched"), settings=dataclasses.replace(SETTINGS, identity=identity))
    async with host.agent(options) as runtime, asyncio.timeout(30):
        process = await runtime.start()
        while True:
            yield await runtime.inspect(process)
            await asyncio.sleep(0.05)


async def test_a_proxy_that_lies_in_ready_is_not_believed(host: ProxyHost) -> None:
    async with contextlib.aclosing(told(host, f"{IDENTITY}-other", **{standin.LIE: "1"})) as readings:
        async for reading in readings:
            state, fault, _ = proxy.judge(reading, UID, 0.0)
            assert state is not ProxyState.READY
            if reading.ready is True and reading.certificate_expires == 0.0:
                break
    assert fault is not None and fault.reason is Reason.PROXY_UNCERTIFIED


async def test_a_proxy_whose_worker_died_says_so_in_its_log(host: ProxyHost) -> None:
    async with contextlib.aclosing(told(host, IDENTITY, **{standin.DEAD_WORKER: "1"})) as readings:
        async for _ in readings:
            if lost_a_worker(host.path("log/proxy.log").read_text()):
                break
