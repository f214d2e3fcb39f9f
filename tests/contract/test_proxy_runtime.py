"""The suite of the ProxyRuntime port: on the memory fake, and on real processes of the stand-in as a child.

With LINKERD2_PROXY=/path/of/linkerd2-proxy in the environment it runs on that program too.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol
from unittest.mock import AsyncMock

import pytest

from agent.adapters import system_bus, unit_bus
from agent.adapters.helper import Helper
from agent.adapters.proxy_unit import UnitProxy
from agent.core import proxy
from agent.core.facts import Process, ProxyState
from agent.core.proxy import Reading
from agent.core.reasons import Fault, Reason
from agent.ports import ProxyRuntime, Trouble
from tests.fakes.proxy_runtime import MemoryHost, MemoryProxyRuntime
from tests.lab import unit_machine
from tests.lab.child_proxies import PROXIES, REAL_BINARY, SETTINGS, UID, ProxyHost, binary_of
from tests.lab.machine import Machine

UNITS = [pytest.param(f"unit:{one.values[0]}", marks=pytest.mark.real) for one in PROXIES]

READY_WITHIN = 30.0
UNKNOWN_END = Fault(Reason.PROXY_CRASHED, "exit status unknown: adopted")


class World(Protocol):
    def agent(self) -> AbstractAsyncContextManager[ProxyRuntime]:
        """An agent's runtime; at the end the agent dies without cleaning up."""
        ...


class MemoryWorld:
    def __init__(self) -> None:
        self._host = MemoryHost()

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[ProxyRuntime]:
        yield MemoryProxyRuntime(self._host)


class UnitWorld:
    """systemd owns it: systemd restarts what has ended, and every agent can read how it ended."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def agent(self) -> AbstractAsyncContextManager[ProxyRuntime]:
        return unit_machine.agent(self._machine)


class ChildWorld:
    def __init__(self, host: ProxyHost) -> None:
        self._host = host

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[ProxyRuntime]:
        async with self._host.agent() as runtime:
            yield runtime
            await runtime.die()


@pytest.fixture(scope="module")
def real_proxy_machine() -> Iterator[Machine]:
    with unit_machine.booted(REAL_BINARY) as (machine, _):
        yield machine


@pytest.fixture(params=["memory", *PROXIES, *UNITS])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    request.getfixturevalue("root")
    if request.param.startswith("unit"):
        if request.param == "unit:stand-in":
            machine, _ = request.getfixturevalue("proxy_host")
            unit_machine.configure(machine)
            unit_machine.stand_in(machine)
        else:
            machine = request.getfixturevalue("real_proxy_machine")
        yield UnitWorld(machine)
        unit_machine.quiet(machine)
        return
    async with ProxyHost(binary_of(request.param)) as host:
        yield ChildWorld(host)


async def ready(runtime: ProxyRuntime, process: Process) -> Reading:
    """The first reading that is judged READY."""
    async with asyncio.timeout(READY_WITHIN):
        while True:
            reading = await runtime.inspect(process)
            if proxy.judge(reading, UID, 0.0)[0] is ProxyState.READY:
                return reading
            await asyncio.sleep(0.05)


async def test_where_nothing_runs_nothing_is_adopted(world: World) -> None:
    async with world.agent() as runtime:
        assert await runtime.adopt() is None


async def test_what_is_started_comes_to_be_ready_with_nothing_in_flight(world: World) -> None:
    async with world.agent() as runtime:
        reading = await ready(runtime, process := await runtime.start())
        assert reading.listener_uids == frozenset({UID})
        assert reading.in_flight == 0
        assert await runtime.carried(process) == 0


async def test_it_outlives_its_agent_and_is_adopted_by_the_next(world: World) -> None:
    async with world.agent() as first:
        process = await first.start()
        await ready(first, process)
    async with world.agent() as second:
        assert await second.adopt() == process
        assert await ready(second, process)
    async with world.agent() as third:
        assert await third.adopt() == process


async def test_sigterm_ends_it_and_that_is_no_fault(world: World) -> None:
    async with world.agent() as runtime:
        process = await runtime.start()
        await ready(runtime, process)
        await runtime.terminate(process)
        assert await runtime.wait(process) == Fault(Reason.PROXY_STOPPED)


async def test_sigkill_is_named(world: World) -> None:
    async with world.agent() as runtime:
        process = await runtime.start()
        await runtime.kill(process)
        fault = await runtime.wait(process)
        assert fault.reason is Reason.PROXY_KILLED
        assert "SIGKILL" in fault.detail


async def test_how_an_adopted_one_ended_is_known_to_systemd_alone(world: World) -> None:
    async with world.agent() as first:
        process = await first.start()
    async with world.agent() as second:
        assert await second.adopt() == process
        await second.kill(process)
        told = await second.wait(process)
        assert "SIGKILL" in told.detail if isinstance(world, UnitWorld) else told == UNKNOWN_END


async def test_what_has_ended_is_not_adopted(world: World) -> None:
    async with world.agent() as first:
        process = await first.start()
        await first.kill(process)
        await first.wait(process)
    async with world.agent() as second:
        assert await second.adopt() != process


async def test_signals_to_what_has_ended_do_nothing(world: World) -> None:
    async with world.agent() as runtime:
        process = await runtime.start()
        await runtime.kill(process)
        await runtime.wait(process)
        await runtime.terminate(process)
        await runtime.kill(process)


async def test_after_its_end_another_can_be_started(world: World) -> None:
    async with world.agent() as runtime:
        first = await runtime.start()
        await runtime.kill(first)
        await runtime.wait(first)
        second = await runtime.start()
        assert second != first
        await ready(runtime, second)


async def test_a_wait_that_is_given_up_can_be_taken_up_again(world: World) -> None:
    async with world.agent() as runtime:
        process = await runtime.start()
        waiting = asyncio.create_task(runtime.wait(process))
        await asyncio.sleep(0)
        waiting.cancel()
        await runtime.kill(process)
        assert (await runtime.wait(process)).reason is Reason.PROXY_KILLED


async def test_a_time_limit_of_who_watches_a_unit_is_no_trouble_with_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reports a closed gate, the other that there is no answer."""
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(tmp_path / "bus"))
        bus.listen()
        with monkeypatch.context() as patched:
            patched.setattr(unit_bus, "WITHIN", 0.05)
            with pytest.raises(system_bus.BusError, match="no answer"):
                async with unit_bus.watching("any.service", str(tmp_path / "bus")):
                    pass
        monkeypatch.setattr(unit_bus.UnitWatch, "open", AsyncMock())
        with pytest.raises(TimeoutError):
            async with unit_bus.watching("any.service", str(tmp_path / "bus")), asyncio.timeout(0.05):
                await asyncio.Event().wait()


async def test_a_host_without_systemd_is_named() -> None:
    runtime = UnitProxy(lambda: SETTINGS, Helper("/nonexistent"), Path("/nonexistent"), bus="/nonexistent")
    with pytest.raises(Trouble) as caught:
        await runtime.adopt()
    assert caught.value.reason is Reason.PROXY_UNIT_FAILED
    assert "/nonexistent" in caught.value.detail
