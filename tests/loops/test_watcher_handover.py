"""The watcher's own Lease in virtual time: how long a crash of the leader leaves the fleet without one."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from agent.cluster.watcher.board import Board
from agent.cluster.watcher.leader import Leader
from agent.core.reasons import Reason
from agent.core.watch.election import Terms
from agent.core.watch.fleet import ALL
from agent.core.watch.limits import Limits
from agent.ports import Trouble
from tests.fakes.fleet_api import MemoryLeaderApi
from tests.loops.running import running


def _replica(lease: MemoryLeaderApi, me: str) -> Leader:
    board = Board((ALL,), Limits(), asyncio.get_running_loop().time)
    return Leader(lease, board, me, Terms(), dict)


@pytest.mark.parametrize("started", [0.1, 0.7, 1.3, 1.9])
async def test_another_replica_leads_within_15_s_of_a_crash(started: float) -> None:
    lease, loop = MemoryLeaderApi(), asyncio.get_running_loop()
    first, second = _replica(lease, "first"), _replica(lease, "second")
    async with AsyncExitStack() as stack:
        async with running(first.run()):
            await asyncio.sleep(started)
            await stack.enter_async_context(running(second.run()))
            await asyncio.sleep(20)
            assert first.leads() and not second.leads()
            last = lease.lease
            while lease.lease == last:  # the crash comes directly after a renewal
                await asyncio.sleep(0.01)
        crashed = loop.time()
        while not second.leads():
            assert not first.leads() or loop.time() < crashed + 10
            await asyncio.sleep(0.01)
        assert 10 < loop.time() - crashed <= 15


async def test_a_lease_that_was_released_is_taken_at_the_next_look() -> None:
    lease, loop = MemoryLeaderApi(), asyncio.get_running_loop()
    first, second = _replica(lease, "first"), _replica(lease, "second")
    async with AsyncExitStack() as stack:
        async with running(first.run()):
            await asyncio.sleep(1)
            await stack.enter_async_context(running(second.run()))
            await asyncio.sleep(20)
        await first.release()
        released = loop.time()
        while not second.leads():
            await asyncio.sleep(0.01)
        assert loop.time() - released < 1


async def test_the_leader_renews_without_a_reading() -> None:
    lease = MemoryLeaderApi()
    leader = _replica(lease, "first")
    async with running(leader.run()):
        await asyncio.sleep(21)
        assert leader.leads() and (lease.calls["read"], lease.calls["write"]) == (1, 11)


@pytest.mark.parametrize("gone", [False, True], ids=["another holder", "deleted"])
async def test_the_leader_sees_at_its_next_renewal_what_another_program_did(gone: bool) -> None:
    lease = MemoryLeaderApi()
    leader = _replica(lease, "first")
    async with running(leader.run()):
        await asyncio.sleep(5)
        lease.lease = None if gone else await lease.write(lease.lease, "by force", 15, {})
        await asyncio.sleep(2)
        assert leader.leads() is gone, "a Lease that was deleted is created again"
        assert lease.lease is not None and lease.lease.holder == ("first" if gone else "by force")


async def test_after_a_failed_renewal_the_lease_is_read_again() -> None:
    """It may have been written all the same, and the answer lost."""
    lease = MemoryLeaderApi()
    leader = _replica(lease, "first")
    async with running(leader.run()):
        await asyncio.sleep(5)
        before, lease.trouble = lease.calls["read"], Trouble(Reason.API_TIMEOUT, "no answer")
        await asyncio.sleep(2)
        written = lease.lease
        lease.trouble = None
        await asyncio.sleep(2)
        assert leader.leads() and lease.calls["read"] == before + 1 and lease.lease != written
