"""The suite of the WorkloadApi port, on the memory fake and on the embedded server read through `spiffe`;
then what only the adapter meets: sockets that are not there, not ours, or not a Workload API."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from agent.adapters.spire import SpireWorkloadApi, fetch_once
from agent.core.facts import Svid
from agent.core.reasons import Reason
from agent.host import serving
from agent.ports import Trouble, WorkloadApi
from agent.sandbox.identity.ca import Authority, KeyType
from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer
from tests.contract.workload_worlds import (
    DOMAIN,
    ID,
    KEY_NAMES,
    SECOND,
    EmbeddedWorld,
    MemoryWorld,
    World,
    folder_for_all,
    nothing_left,
)

NOBODY = 65534
SOON = 0.2  # seconds, for rows that wait for nothing to come


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_for_all() as folder:
        yield folder


@pytest.fixture(params=["memory", "embedded"])
async def world(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[World]:
    async with nothing_left():
        if request.param == "memory":
            yield MemoryWorld()
        else:
            world = EmbeddedWorld(folder / "agent.sock")
            async with world.server:
                yield world


async def once(api: WorkloadApi) -> Sequence[Svid]:
    async with aclosing(api.watch()) as updates:
        return await anext(updates)


async def reason(api: WorkloadApi) -> Reason:
    with pytest.raises(Trouble) as caught:
        await once(api)
    return caught.value.reason


def ids(svids: Sequence[Svid]) -> list[str]:
    return [svid.spiffe_id for svid in svids]


# every implementation -------------------------------------------------------------------------------


async def test_it_gives_what_is_registered(world: World) -> None:
    world.register(ID)
    (svid,) = await once(world.api())
    assert (svid.spiffe_id, svid.key_type, svid.hint) == (ID, "EC P-256", "")
    assert svid.not_before < svid.not_after


async def test_it_gives_all_in_the_order_of_the_api(world: World) -> None:
    world.register(SECOND, ID)
    assert ids(await once(world.api())) == [SECOND, ID]


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048"])
async def test_it_names_the_key(world: World, key_type: KeyType) -> None:
    world.register(ID, key_type=key_type)
    (svid,) = await once(world.api())
    assert svid.key_type == KEY_NAMES[key_type]


async def test_each_rotation_is_told_on_the_same_stream(world: World) -> None:
    world.register(ID)
    async with aclosing(world.api().watch()) as updates:
        assert ids(await anext(updates)) == [ID]
        for _ in range(3):
            world.rotate()
            assert ids(await anext(updates)) == [ID]


async def test_a_change_of_the_registration_is_told_on_the_same_stream(world: World) -> None:
    world.register(ID)
    async with aclosing(world.api().watch()) as updates:
        await anext(updates)
        world.register(ID, SECOND)
        assert ids(await anext(updates)) == [ID, SECOND]


async def test_a_caller_without_registration_is_denied(world: World) -> None:
    world.register()
    assert await reason(world.api()) is Reason.WORKLOAD_API_DENIED


async def test_a_registration_made_meanwhile_is_found_by_the_next_try(world: World) -> None:
    world.register()
    api = world.api()
    assert await reason(api) is Reason.WORKLOAD_API_DENIED
    world.register(ID)
    assert ids(await once(api)) == [ID]


async def test_a_registration_taken_away_ends_the_stream(world: World) -> None:
    world.register(ID)
    async with aclosing(world.api().watch()) as updates:
        await anext(updates)
        world.register()
        with pytest.raises(Trouble) as caught:
            await anext(updates)
    assert caught.value.reason is Reason.WORKLOAD_API_DENIED


async def test_silence_is_told_from_absence(world: World) -> None:
    world.register(ID)
    world.fall_silent()
    assert await reason(world.api(within=SOON)) is Reason.WORKLOAD_API_SILENT


async def test_absence(world: World) -> None:
    await world.go_away()
    assert await reason(world.api()) is Reason.WORKLOAD_API_ABSENT


async def test_a_stream_ends_with_its_source_and_the_next_try_finds_it_again(world: World) -> None:
    world.register(ID)
    api = world.api()
    async with aclosing(api.watch()) as updates:
        await anext(updates)
        await world.go_away()
        with pytest.raises(Trouble, match="WorkloadApi"):
            await anext(updates)
    assert await reason(api) is Reason.WORKLOAD_API_ABSENT
    await world.come_back()
    assert ids(await once(api)) == [ID]


async def test_two_watches_hear_the_same(world: World) -> None:
    world.register(ID)
    api = world.api()
    async with aclosing(api.watch()) as one, aclosing(api.watch()) as other:
        assert await anext(one) == await anext(other)
        world.register(SECOND)
        assert ids(await anext(one)) == ids(await anext(other)) == [SECOND]


async def test_a_watch_that_is_cancelled_while_it_waits_leaves_nothing(world: World) -> None:
    world.fall_silent()
    waiting = asyncio.create_task(once(world.api()))
    await asyncio.sleep(SOON)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# the adapter alone ----------------------------------------------------------------------------------


async def test_svids_that_really_run_out_are_replaced_in_time(folder: Path) -> None:
    path, entries = folder / "agent.sock", {os.geteuid(): (Entry(ID),)}
    server, api = WorkloadApiServer(path, Authority(DOMAIN), entries, ttl=2), SpireWorkloadApi(str(path))
    async with server, aclosing(api.watch()) as updates:
        ends = [(await anext(updates))[0].not_after for _ in range(3)]
    assert ends[0] < ends[1] < ends[2]


async def test_silence_holds_the_open_streams_too(folder: Path) -> None:
    path = folder / "agent.sock"
    server, api = (
        WorkloadApiServer(path, Authority(DOMAIN), {os.geteuid(): (Entry(ID),)}),
        SpireWorkloadApi(str(path)),
    )
    async with server, aclosing(api.watch()) as updates:
        await anext(updates)
        server.silence = True
        server.rotate()
        pushed = asyncio.create_task(anext(updates))
        assert await asyncio.wait({pushed}, timeout=SOON) == (set(), {pushed})
        server.silence = False
        assert ids(await pushed) == [ID]


async def test_one_fetch(folder: Path) -> None:
    path, entries = folder / "agent.sock", {os.geteuid(): (Entry(ID),)}
    async with nothing_left(), WorkloadApiServer(path, Authority(DOMAIN), entries):
        assert ids(await fetch_once(str(path))) == [ID]


def left_over(path: Path) -> None:
    """The socket of a server that was killed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (left_over, Reason.WORKLOAD_API_REFUSED),
        (Path.touch, Reason.WORKLOAD_API_REFUSED),
        (Path.mkdir, Reason.WORKLOAD_API_REFUSED),
        (lambda path: None, Reason.WORKLOAD_API_ABSENT),
        (lambda path: path.symlink_to("nowhere"), Reason.WORKLOAD_API_ABSENT),
        (lambda path: path.with_name(path.name * 30), Reason.WORKLOAD_API_ABSENT),
    ],
)
async def test_what_is_no_listening_socket(folder: Path, make: Callable[[Path], object], expected: Reason) -> None:
    path = folder / "agent.sock"
    make(path)
    assert await reason(SpireWorkloadApi(str(path))) is expected


async def test_a_path_that_no_socket_can_have_is_explained(folder: Path) -> None:
    with pytest.raises(Trouble, match="path too long"):
        await once(SpireWorkloadApi(str(folder / ("long" * 30))))


async def test_a_server_starts_in_place_of_the_sockets_of_a_dead_one(folder: Path) -> None:
    path = folder / "agent.sock"
    left_over(path)
    left_over(folder / "agent.sock~")  # it died while it started
    async with WorkloadApiServer(path, Authority(DOMAIN), {os.geteuid(): (Entry(ID),)}):
        assert ids(await fetch_once(str(path))) == [ID]
        assert path.stat().st_mode & 0o777 == 0o777
    assert not path.exists()


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("closed", ["socket", "folder"])
async def test_a_socket_that_this_user_may_not_open(root: None, folder: Path, closed: str) -> None:
    path = folder / "agent.sock"
    async with WorkloadApiServer(path, Authority(DOMAIN)):
        (path if closed == "socket" else folder).chmod(0o700)
        with acting_as(NOBODY), pytest.raises(Trouble, match="Permission denied") as caught:
            await fetch_once(str(path))
    assert caught.value.reason is Reason.WORKLOAD_API_REFUSED


async def test_a_server_that_never_accepts_is_silent(folder: Path) -> None:
    path = folder / "agent.sock"
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(path))
        frozen.listen()
        async with nothing_left():
            assert await reason(SpireWorkloadApi(str(path), SOON)) is Reason.WORKLOAD_API_SILENT


async def test_a_server_of_something_else_has_failed(folder: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    path = folder / "agent.sock"
    async with serving.closing(await asyncio.start_unix_server(answer, path)), nothing_left():
        assert await reason(SpireWorkloadApi(str(path))) is Reason.WORKLOAD_API_FAILED
