"""A replacement of the proxy while the second slot serves: the privileged helper does not answer, or the second
proxy ends once it serves."""

import asyncio

import pytest

from agent.core.reasons import Fault, Reason
from agent.core.replacement import Stage
from agent.core.slots import Slot
from tests.loops.test_proxy_replacement import NEW, OLD
from tests.loops.test_proxy_replacement_covered import Agent, Lost, TwoSlots, upgraded


@pytest.mark.parametrize("acted", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("kept", [False, True], ids=["alone", "kept"])
@pytest.mark.parametrize(("bad", "first"), [(False, 1), (False, 2), (True, 1), (True, 2)])
async def test_what_the_privileged_helper_does_not_answer_is_asked_again(
    bad: bool, first: int, kept: bool, acted: bool
) -> None:
    """It ends as it would have. Of the version to start, and of the one to go back to."""
    disk = TwoSlots(bad=frozenset({NEW}) if bad else frozenset())
    disk.lost = Lost(first, 3, acted)
    await upgraded(disk, kept=kept)
    end, version = (Stage.BACK_AGAIN, OLD) if bad else (Stage.DONE, NEW)
    assert disk.record is not None and disk.record.stage is end
    assert (disk.current, disk.runs, disk.covers, disk.requests) == (version, version, "", 5)
    assert disk.unserved == []


async def test_a_privileged_helper_that_stays_away_leaves_everything_as_it_was() -> None:
    disk = TwoSlots()
    disk.lost = Lost(1, 1000, False)
    await upgraded(disk)
    assert disk.record is not None and (disk.record.stage, disk.record.detail) == (
        Stage.BACK_AGAIN,
        "no answer; no answer",
    )
    assert (disk.current, disk.runs, disk.host.started, disk.turned) == (OLD, OLD, 1, [])
    assert disk.unserved == []


@pytest.mark.parametrize("swapped", [False, True], ids=["before the swap", "after a swap that was not answered"])
async def test_a_version_that_ends_once_it_serves_is_given_up(swapped: bool) -> None:
    """Main has stopped by then, and starts again at once with the version before."""
    disk = TwoSlots()
    disk.lost = Lost(2, 1, swapped)
    agent = Agent(disk)
    await agent.live(agent.serves)
    agent, began = Agent(disk, ready_within=1000.0), asyncio.get_running_loop().time()
    agent.replacement.ask(NEW, OLD, covered=True)
    ended = False

    def crash() -> bool:
        nonlocal ended
        if disk.named is Slot.STANDBY and disk.host.running is None and not ended:
            ended = True
            assert disk.current == (NEW if swapped else OLD)
            disk.standby.die(Fault(Reason.PROXY_CRASHED, "exit 1"))
            disk.named = Slot.MAIN  # as the unit does
        return agent.over()

    await agent.live(crash)
    assert ended and disk.record is not None and disk.record.stage is Stage.BACK_AGAIN
    assert disk.record.detail == "the second proxy ended after it had begun to serve: exit 1"
    assert (disk.current, disk.runs, disk.covers) == (OLD, OLD, "")
    assert asyncio.get_running_loop().time() - began < 100.0


async def test_a_second_proxy_that_is_stopped_with_the_machine_says_nothing_of_its_version() -> None:
    disk = TwoSlots()
    agent = Agent(disk)
    await agent.live(agent.serves)
    agent = Agent(disk)
    agent.replacement.ask(NEW, OLD, covered=True)
    looks = 0

    def shut_down() -> bool:
        nonlocal looks
        if disk.named is Slot.STANDBY and disk.host.running is None and not disk.down:
            disk.down = True
            disk.standby.die(Fault(Reason.PROXY_STOPPED))
        looks += disk.down
        return looks == 10

    disk.lost = Lost(2, 1, False)  # main has stopped, and its binary is not changed yet
    await agent.live(shut_down)
    disk.reboot()
    disk.down, disk.lost = False, None
    agent = Agent(disk)
    await agent.live(agent.over)
    assert disk.record is not None and (disk.record.stage, disk.runs) == (Stage.DONE, NEW)
