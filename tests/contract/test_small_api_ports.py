"""SliceApi and EventApi: one suite on the tests' fakes, the embedded API server and a real one."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agent.core.reasons import Reason
from agent.ports import Event, EventApi, SliceApi, Trouble
from tests.contract import status_worlds
from tests.contract.status_worlds import NAME, HttpWorld
from tests.contract.test_drain_slices import tell, until_listed, writer
from tests.loops.test_events import Api
from tests.loops.test_slices import Slices

TIME, LATER = "2026-01-02T03:04:05.678901Z", "2026-01-02T03:05:05.000001Z"
EVENT = Event(f"{NAME}.small", "", TIME, "BecomeUnready", "ProbeFailing", "the application fails", True)
ROWS = ["memory", "embedded", pytest.param("real", marks=pytest.mark.real)]


@dataclasses.dataclass
class World:
    """`listing`: the mesh lists the host as ready, or no longer does."""

    slices: SliceApi
    events: EventApi
    listing: Callable[[bool], Awaitable[None]]


@pytest.fixture(params=ROWS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "memory":
            yield _memory()
            return
        http = await stack.enter_async_context(status_worlds.made(request, tmp_path))
        assert isinstance(http, HttpWorld)
        await http.create()
        await stack.enter_async_context(writer(http))

        async def listing(ready: bool) -> None:
            await tell(http, "True" if ready else "False")
            await until_listed(http, ready)

        yield World(http.api, http.api, listing)


def _memory() -> World:
    slices = Slices()
    slices.answer = False

    async def listing(ready: bool) -> None:
        slices.answer = ready

    return World(slices, Api(), listing)


async def test_a_host_is_listed_while_the_mesh_lists_it_as_ready(world: World) -> None:
    assert await world.slices.listed() is False
    for ready in (True, False, True):
        await world.listing(ready)
        assert await world.slices.listed() is ready


async def test_an_event_is_repeated_while_it_exists(world: World) -> None:
    with pytest.raises(Trouble) as raised:
        await world.events.repeat_event(EVENT.name, 2, LATER)
    assert raised.value.reason is Reason.EVENT_GONE
    await world.events.post_event(EVENT)
    for count in (2, 3):
        await world.events.repeat_event(EVENT.name, count, LATER)
