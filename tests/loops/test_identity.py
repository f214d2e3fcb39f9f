import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest

from agent.core import identity
from agent.core.facts import IdentityFact, Svid
from agent.core.reasons import Fault, Reason
from agent.loops.attempts import Attempts
from agent.loops.identity import IdentityLoop
from agent.ports import WorkloadApi
from tests.fakes.workload_api import ID, MemoryWorkloadApi, svid
from tests.loops.recording import ShiftedClock, recorded
from tests.loops.running import running


class Desk(ShiftedClock):
    """Collects what the loop publishes."""

    def __init__(self, api: WorkloadApi, jitter: Callable[[], float] = lambda: 1.0) -> None:
        self.facts: list[IdentityFact] = []
        self.attempts = Attempts()
        self.loop = IdentityLoop(
            api, ID, recorded("identity", self.facts), self.wall_now, jitter, attempts=self.attempts
        )

    @property
    def reasons(self) -> list[Reason | None]:
        return [fact.fault.reason if fact.fault else None for fact in self.facts]


async def test_an_svid_is_known_at_once_with_its_end_on_the_loops_clock() -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    desk.wall = 1_000_000.0
    api.serve(svid(not_before=desk.wall - 10, not_after=desk.wall + 60))
    async with running(desk.loop.run()):
        await asyncio.sleep(1)
    assert [(fact.expires_at, fact.updates, fact.fault) for fact in desk.facts] == [(60.0, 1, None)]


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
async def test_a_jump_of_the_wall_clock_changes_nothing_that_was_measured(jump: float) -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    api.serve(svid())
    async with running(desk.loop.run()):
        await asyncio.sleep(1)
        desk.wall = jump
        api.serve(svid(), svid("spiffe://example.org/second"))
        await asyncio.sleep(10)
    assert [fact.expires_at for fact in desk.facts] == [60.0]
    assert len(api.opened) == 1


async def test_an_svid_that_is_repeated_past_its_end_is_left_to_run_out() -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    api.serve(svid())
    async with running(desk.loop.run()):
        await asyncio.sleep(100)
        api.serve(svid())
        await asyncio.sleep(10)
    assert [(fact.expires_at, fact.fault) for fact in desk.facts] == [(60.0, None)]


async def test_a_rotation_is_an_update_and_a_repetition_is_none() -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    async with running(desk.loop.run()):
        for end in (60, 60, 90, 90, 120):
            api.serve(svid(not_after=end))
            await asyncio.sleep(1)
    assert [(fact.updates, fact.expires_at) for fact in desk.facts] == [(1, 60), (2, 90), (3, 120)]


async def test_trouble_with_the_source_takes_no_svid_away() -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    api.serve(svid(not_after=3600))
    async with running(desk.loop.run()):
        await asyncio.sleep(10)
        api.fail(Reason.WORKLOAD_API_REFUSED)
        await asyncio.sleep(100)
        api.serve(svid(not_after=3600))
        await asyncio.sleep(10)
    first = desk.facts[0]
    down = dataclasses.replace(first, fault=Fault(Reason.WORKLOAD_API_REFUSED))
    assert desk.facts == [first, down, first]


@pytest.mark.parametrize(
    ("arrives", "reason"),
    [
        ([svid("spiffe://example.org/other")], Reason.IDENTITY_UNEXPECTED),
        ([], Reason.IDENTITY_UNEXPECTED),
        ([svid(key_type="RSA 2048")], Reason.IDENTITY_KEY_UNSUITABLE),
        ([svid(not_before=1000, not_after=2000)], Reason.CLOCK_SKEWED),
        ([svid(not_before=-2000, not_after=-1000)], Reason.CLOCK_SKEWED),
    ],
)
async def test_svids_that_arrive_and_do_not_fit_take_the_old_one_away(arrives: list[Svid], reason: Reason) -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    api.serve(svid())
    async with running(desk.loop.run()):
        await asyncio.sleep(1)
        api.serve(*arrives)
        await asyncio.sleep(60)
    assert desk.reasons == [None, reason]
    assert (desk.facts[-1].svid, desk.facts[-1].expires_at) == (None, 0.0)


async def test_a_clock_set_right_is_noticed_before_the_next_rotation() -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    desk.wall = -7200.0
    api.serve(svid(not_after=3600))
    async with running(desk.loop.run()):
        await asyncio.sleep(60)
        desk.wall = 0.0
        await asyncio.sleep(5)
    assert desk.reasons == [Reason.CLOCK_SKEWED, None]
    assert desk.facts[-1].expires_at == 3600


async def test_trouble_at_the_start_is_the_first_fact() -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    api.fail(Reason.WORKLOAD_API_ABSENT)
    async with running(desk.loop.run()):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert desk.facts == [IdentityFact(fault=Fault(Reason.WORKLOAD_API_ABSENT))]


@pytest.mark.parametrize("within", [4.0, None])
async def test_a_source_that_hangs_is_a_fact_within_5_s_and_may_still_answer(within: float | None) -> None:
    api = MemoryWorkloadApi(within)
    desk = Desk(api)
    async with running(desk.loop.run()):
        await asyncio.sleep(5)
        assert desk.reasons == [Reason.WORKLOAD_API_SILENT]
        await asyncio.sleep(1000)
        api.serve(svid(not_after=3600))
        await asyncio.sleep(5)
    assert desk.reasons == [Reason.WORKLOAD_API_SILENT, None]


async def test_retries_back_off_to_5_s_and_are_published_once() -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    api.fail(Reason.WORKLOAD_API_DENIED)
    async with running(desk.loop.run()):
        await asyncio.sleep(18)
    assert [round(time, 1) for time in api.opened] == [0.0, 0.2, 0.6, 1.4, 3.0, 6.2, 11.2, 16.2]
    assert desk.reasons == [Reason.WORKLOAD_API_DENIED]


async def test_days_of_absence_do_no_harm() -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    api.fail(Reason.WORKLOAD_API_ABSENT)
    async with running(desk.loop.run()):
        await asyncio.sleep(7200)  # past the number of tries at which a naive power overflows
        api.serve(svid(not_after=9999))
        await asyncio.sleep(5)
    assert desk.reasons == [Reason.WORKLOAD_API_ABSENT, None]


class Breaking:
    """Delivers, lives for a while, and breaks, over and over."""

    def __init__(self, life: float) -> None:
        self.life = life
        self.opened: list[float] = []

    async def watch(self) -> AsyncGenerator[Sequence[Svid], None]:
        self.opened.append(asyncio.get_running_loop().time())
        yield [svid(not_after=3600)]
        await asyncio.sleep(self.life)


async def test_a_stream_that_delivers_and_breaks_at_once_makes_no_spin() -> None:
    api = Breaking(0.0)
    async with running(Desk(api).loop.run()):
        await asyncio.sleep(60)
    assert len(api.opened) < 20


async def test_a_stream_that_lasted_is_tried_again_soon() -> None:
    api = Breaking(100.0)
    async with running(Desk(api).loop.run()):
        await asyncio.sleep(250)
    assert [round(time, 1) for time in api.opened] == [0.0, 100.2, 200.4]


async def test_the_end_of_the_loop_ends_the_stream() -> None:
    api = MemoryWorkloadApi()
    api.serve(svid())
    async with running(Desk(api).loop.run()):
        await asyncio.sleep(1)
        assert api.open == 1
    assert api.open == 0


async def test_nothing_is_said_after_the_end() -> None:
    desk = Desk(MemoryWorkloadApi())
    async with running(desk.loop.run()):
        await asyncio.sleep(1)
    await asyncio.sleep(60)
    assert desk.facts == []


class Broken:
    async def watch(self) -> AsyncGenerator[Sequence[Svid], None]:
        raise RuntimeError("a fault of our own")
        yield []


async def test_the_unexpected_is_a_crash() -> None:
    with pytest.raises(RuntimeError, match="a fault of our own"):
        await Desk(Broken()).loop.run()


async def test_an_svid_that_cannot_be_used_as_it_is_takes_no_other_away() -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    api.serve(svid(not_after=3600))
    async with running(desk.loop.run()):
        await asyncio.sleep(1)
        api.serve(dataclasses.replace(svid(not_after=7200), flaw="garbage"))
        await asyncio.sleep(1)
    assert desk.reasons == [None, Reason.IDENTITY_MALFORMED]
    assert desk.facts[1].svid == desk.facts[0].svid


async def test_a_bundle_that_changes_is_told_and_makes_no_new_svid() -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    async with running(desk.loop.run()):
        for bundle in ((b"old",), (b"new", b"old"), (b"new", b"old")):
            api.serve(dataclasses.replace(svid(), bundle=bundle))
            await asyncio.sleep(1)
    assert [(fact.bundle, fact.updates) for fact in desk.facts] == [((b"old",), 1), ((b"new", b"old"), 1)]


async def test_200_rotations_of_a_10_s_svid_miss_no_deadline() -> None:
    """Each comes at half of the life of the one before; never is the host within its margin of the end."""
    api = MemoryWorkloadApi()
    desk = Desk(api)
    loop = asyncio.get_running_loop()
    async with running(desk.loop.run()):
        for number in range(1, 201):
            now = loop.time()
            api.serve(svid(not_before=now - 10, not_after=now + 10))
            await asyncio.sleep(5)
            fact = desk.facts[-1]
            assert fact.updates == number
            assert loop.time() < fact.expires_at - identity.margin(fact.expires_at - fact.received_at)
    assert len(desk.facts) == 200 and set(desk.reasons) == {None}


async def test_200_rotations_through_a_source_that_breaks_at_each_miss_no_deadline() -> None:
    api = MemoryWorkloadApi()
    desk = Desk(api)
    loop = asyncio.get_running_loop()
    async with running(desk.loop.run()):
        for _ in range(200):
            now = loop.time()
            api.serve(svid(not_before=now - 10, not_after=now + 10))
            await asyncio.sleep(3)
            api.fail(Reason.WORKLOAD_API_ABSENT)
            await asyncio.sleep(2)
            fact = desk.facts[-1]
            assert loop.time() < fact.expires_at - identity.margin(fact.expires_at - fact.received_at)
    assert desk.facts[-1].updates == 200
