"""The redirect loop on the real kernel: drift is repaired when the kernel reports it, long before the slow
check."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.adapters.redirector import HelperRedirector
from agent.core.facts import UNKNOWN, Level, RedirectFact
from agent.core.goals import Goals, RedirectGoal
from agent.core.reasons import Reason
from agent.loops import redirect
from agent.loops.board import Board, Waiter
from agent.loops.redirect import RedirectLoop
from tests.lab.netns import namespace
from tests.loops.running import running
from tests.privileged.hosts import Host, Listeners, files

PATIENCE = 15.0  # seconds; half of what the slow check takes
ON = RedirectGoal.ON


@pytest.fixture
def host(root: None, tmp_path: Path) -> Iterator[Host]:
    files(tmp_path)
    with namespace() as space, Listeners() as ears:
        ears.add_listeners(space)
        yield Host(space, space, tmp_path)


@contextlib.asynccontextmanager
async def agent(host: Host) -> AsyncIterator[Board]:
    """The loop, with everything as intended."""
    board, redirector = Board(), HelperRedirector(host.helper())
    board.goals.set(Goals(inbound=ON, outbound=ON))
    loop = RedirectLoop(redirector, board, board.setter("redirect"), lambda: 0.0)
    with contextlib.closing(redirector):
        async with running(loop.run()):
            await told(board, RedirectFact(Level.ON, Level.ON))
            yield board


async def told(board: Board, wanted: RedirectFact) -> None:
    waiter = Waiter(board.facts)
    async with asyncio.timeout(PATIENCE):
        while board.facts.value.redirect != wanted:
            await waiter.wait()
    waiter.close()


async def mended(host: Host) -> None:
    """By a separate check; the board does not report drift that was repaired."""
    async with asyncio.timeout(PATIENCE):
        while "4143" not in await asyncio.to_thread(host.space.run, "nft", "list", "ruleset"):
            await asyncio.sleep(0)


async def test_flush_ruleset_is_repaired_on_the_kernels_word(host: Host) -> None:
    async with agent(host) as board:
        host.space.run("nft", "flush", "ruleset")
        await mended(host)
        fact = board.facts.value.redirect
        assert fact is not UNKNOWN and fact.fault is None


async def test_who_deletes_again_and_again_wins_and_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redirect, "PACE", 0.05)
    async with agent(host) as board:
        async with asyncio.timeout(2 * PATIENCE):
            while not _contested(board):
                host.space.run("nft", "flush", "ruleset")
                await asyncio.sleep(0.05)  # the fighter's pace
        assert host.space.run("nft", "list", "ruleset") == ""


def _contested(board: Board) -> bool:
    fact = board.facts.value.redirect
    return fact is not UNKNOWN and fact.fault is not None and fact.fault.reason is Reason.REDIRECT_CONTESTED
