"""A replacement while the second slot serves, where no version becomes ready in time in the place of main: the
standby serves on, with the version that failed, until main serves after all."""

import pytest

from agent.core.replacement import Stage
from agent.core.slots import Slot
from tests.loops.test_proxy_replacement import NEW, OLD
from tests.loops.test_proxy_replacement_covered import Agent, TwoSlots, asked_and_over

STEPS = 12  # writes and swaps


async def failed_beside_a_standby(disk: TwoSlots, kept: bool, killed_at: tuple[int, bool] | None = None) -> int:
    """The new version works in the standby alone, and the previous one is ready in main only once the replacement
    has ended; the number of agents that it took."""
    agent = Agent(disk, kept)
    await agent.live(lambda: agent.serves() and (not kept or disk.ready(Slot.STANDBY)))
    disk.killed_at, disk.bad_in_main = killed_at, frozenset({NEW})
    ends: list[Stage] = []

    def over(agent: Agent) -> bool:
        stage = None if disk.record is None else disk.record.stage
        if stage is Stage.STARTING:
            disk.bad_in_main = frozenset({NEW, OLD})
        if stage is Stage.FAILED and agent.serves() and not ends:
            assert disk.named is Slot.STANDBY
            assert disk.record is not None and "the second proxy serves" in disk.record.detail
            ends.append(stage)
            disk.bad_in_main = frozenset()
        return bool(ends) and agent.over() and stage is Stage.CLEARED

    return await asked_and_over(disk, kept, over)


@pytest.mark.parametrize("kept", [False, True], ids=["alone", "kept"])
async def test_a_previous_version_that_is_ready_late_is_that_of_the_standby_too(kept: bool) -> None:
    """The version that failed serves from the standby until then, and not a moment longer."""
    disk = TwoSlots()
    assert await failed_beside_a_standby(disk, kept) == 1
    assert (disk.current, disk.runs, disk.covers, disk.named) == (OLD, OLD, "", Slot.MAIN)
    assert disk.standby_runs == OLD if kept else disk.standby.running is None
    assert (disk.unserved, disk.steps) == ([], STEPS)


@pytest.mark.parametrize("kept", [False, True], ids=["alone", "kept"])
@pytest.mark.parametrize("happens", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, STEPS + 1))
async def test_and_so_with_the_agent_killed_at_each_step(number: int, happens: bool, kept: bool) -> None:
    disk = TwoSlots()
    assert await failed_beside_a_standby(disk, kept, (number, happens)) == 2
    assert (disk.current, disk.runs, disk.covers, disk.named) == (OLD, OLD, "", Slot.MAIN)
    assert disk.standby_runs == OLD if kept else disk.standby.running is None
    assert disk.unserved == []
