"""How often a running proxy is read."""

import asyncio
import dataclasses

import pytest

from agent.core.facts import UNKNOWN, Counters, ProxyState
from agent.core.goals import Goals, ProxyGoal
from agent.core.identity import EXPIRY_MARGIN
from agent.core.proxy import Reading
from agent.core.reasons import Reason
from agent.loops.proxy import POLL, POLL_STARTING, POLL_STEADY
from tests.fakes.proxy_runtime import READY
from tests.loops.test_proxy import Scene

HOLD, RUNNING = ProxyGoal.HOLD, ProxyGoal.RUNNING


@pytest.mark.parametrize(
    ("reading", "goals"),
    [
        (dataclasses.replace(READY, inbound_listening=False), Goals(proxy=RUNNING)),
        (dataclasses.replace(READY, control=UNKNOWN), Goals(proxy=RUNNING)),
        (dataclasses.replace(READY, control=Counters()), Goals(proxy=RUNNING)),
        (READY, Goals(proxy=RUNNING, reason=Reason.DRAINING)),
        (READY, Goals(proxy=HOLD)),
    ],
    ids=["not ready", "control plane not known", "no answer of it", "draining", "hold"],
)
async def test_a_proxy_that_something_waits_for_is_read_every_2_s(reading: Reading, goals: Goals) -> None:
    scene = Scene(survivor=True)
    scene.runtime.reading = reading
    scene.board.goals.set(goals)
    async with scene.playing():
        before = len(scene.runtime.called("inspect"))
        await asyncio.sleep(100)
        assert len(scene.runtime.called("inspect")) == before + 100 / POLL


async def test_a_drain_finds_no_old_count_of_what_is_in_flight() -> None:
    async with Scene(survivor=True, goal=RUNNING).playing(lasting=POLL_STEADY / 2) as scene:
        scene.runtime.reading = dataclasses.replace(READY, in_flight=3)
        scene.board.goals.set(Goals(proxy=RUNNING, reason=Reason.DRAINING))
        await asyncio.sleep(0.001)
        assert scene.fact.in_flight == 3


async def test_each_count_of_what_is_in_flight_is_news_while_the_host_drains() -> None:
    """An equal count, too: the decision waits for one from after the moment at which peers no longer dial."""
    async with Scene(survivor=True, goal=RUNNING).playing(lasting=POLL_STEADY / 2) as scene:
        assert scene.fact.counted_at is None
        scene.board.goals.set(Goals(proxy=HOLD, reason=Reason.SHUTTING_DOWN))
        counted: list[float | None] = []
        for _ in range(3):
            await asyncio.sleep(POLL)
            counted.append(scene.fact.counted_at)
        assert len(set(counted)) == 3 and None not in counted


async def test_a_proxy_that_systemd_restarted_is_read_every_fifth_of_a_second_until_it_is_ready() -> None:
    scene = Scene(survivor=True, goal=RUNNING)
    async with scene.playing(lasting=30):
        scene.crash()
        scene.runtime.reading = dataclasses.replace(READY, inbound_listening=False)
        scene.host.restart_by_itself()
        await asyncio.sleep(5)
        scene.runtime.reading = READY
        await asyncio.sleep(POLL_STARTING)
        assert scene.fact.state is ProxyState.READY


async def test_a_certificate_that_expires_soon_is_read_before_it_counts_as_expired() -> None:
    """The proxy has another one by then, but a steady proxy is read every 10 s."""
    scene = Scene(survivor=True, goal=RUNNING)
    scene.wall = 1000.0
    soon = scene.wall + POLL_STEADY + EXPIRY_MARGIN - 1.0
    scene.runtime.reading = dataclasses.replace(READY, certificate_expires=soon)
    async with scene.playing():
        before = len(scene.runtime.called("inspect"))
        await asyncio.sleep(POLL)
        assert len(scene.runtime.called("inspect")) == before + 1
        scene.runtime.reading = dataclasses.replace(READY, certificate_expires=soon + 3600)
        await asyncio.sleep(POLL)
        before = len(scene.runtime.called("inspect"))
        await asyncio.sleep(POLL_STEADY)
        assert len(scene.runtime.called("inspect")) == before + 1
