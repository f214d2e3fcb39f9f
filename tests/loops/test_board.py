import asyncio

import pytest

from agent.core.facts import AgentFact, ProbesFact
from agent.loops.board import ALIVE_WITHIN, Board, Waiter


async def test_a_waiter_sees_the_first_value_at_once_and_then_each_change() -> None:
    board = Board()
    waiter = Waiter(board.facts)
    assert await waiter.wait(0)
    assert not await waiter.wait(5)
    board.setter("probes")(ProbesFact())
    assert await waiter.wait(0)


async def test_the_same_value_again_is_no_news() -> None:
    board = Board()
    publish = board.setter("probes")
    publish(ProbesFact())
    waiter = Waiter(board.facts)
    await waiter.wait()
    publish(ProbesFact())
    assert not await waiter.wait(1)


async def test_changed_returns_on_news_and_leaves_no_bell_behind() -> None:
    board = Board()
    version = board.version
    task = asyncio.create_task(board.changed(version, 60))
    await asyncio.sleep(1)
    assert not task.done()
    board.setter("agent")(AgentFact(1.0))
    await task
    assert board.version != version
    assert board.facts.bells == []


async def test_changed_gives_up() -> None:
    board = Board()
    before = asyncio.get_running_loop().time()
    await board.changed(board.version, 60)
    assert asyncio.get_running_loop().time() - before == 60


def test_a_setter_is_for_one_known_field() -> None:
    with pytest.raises(AssertionError):
        Board().setter("nonsense")


def test_alive_is_a_recent_decision() -> None:
    board = Board()
    assert not board.alive(0, ALIVE_WITHIN)
    board.decided_at = 100
    assert board.alive(100 + ALIVE_WITHIN, ALIVE_WITHIN)
    assert not board.alive(100 + ALIVE_WITHIN + 1, ALIVE_WITHIN)
