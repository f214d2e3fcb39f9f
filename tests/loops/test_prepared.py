"""The loop of what root has prepared for a restart and a takeover."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from agent.core import facts as f
from agent.core.reasons import Reason
from agent.core.slots import Slot
from agent.loops.board import Board
from agent.loops.prepared import EVERY, PreparedLoop
from agent.ports import Trouble
from tests.loops.running import running

ON = f.RedirectFact(f.Level.ON, f.Level.ON)
PASSWD = "/etc/passwd has changed"


@dataclass
class Root:
    """`lost`: why no plan holds. `able`: a look prepares again. `asked`: when it was asked to look."""

    lost: str = ""
    able: bool = True
    trouble: Trouble | None = None
    asked: list[float] = field(default_factory=list)
    board: Board = field(default_factory=Board)

    async def look(self) -> str:
        return self.lost

    async def check(self) -> None:
        self.asked.append(asyncio.get_running_loop().time())
        if self.trouble is not None:
            raise self.trouble
        if self.able:
            self.lost = ""

    @property
    def said(self) -> f.Maybe[str]:
        return self.board.facts.value.prepared

    @contextlib.asynccontextmanager
    async def watched(self, redirect: f.Maybe[f.RedirectFact] = ON) -> AsyncIterator[None]:
        self.board.setter("redirect")(redirect)
        publish = self.board.setter("prepared")
        async with running(PreparedLoop(self.look, self.check, self.board, publish, lambda: 0.0).run()):
            await asyncio.sleep(1)
            yield


async def test_what_holds_no_longer_is_prepared_again_soon_and_is_no_remark() -> None:
    root = Root()
    async with root.watched():
        assert root.said == ""
        for times in (1, 2):
            root.lost = PASSWD
            await asyncio.sleep(EVERY)
            assert root.lost == ""
            assert (len(root.asked), root.said) == (times, "")
            await asyncio.sleep(EVERY)
        assert len(root.asked) == 2, "no look is asked for while it holds"


async def test_what_cannot_be_prepared_again_is_said_until_it_is() -> None:
    root = Root(PASSWD, able=False)
    async with root.watched():
        await asyncio.sleep(EVERY)
        assert root.said == PASSWD
        await asyncio.sleep(3600)
        assert len(root.asked) < 20, "each is a program that is started"
        root.lost = ""
        await asyncio.sleep(EVERY)
        assert root.said == ""


async def test_a_helper_that_does_not_answer_is_named_and_asked_again() -> None:
    root = Root(PASSWD, trouble=Trouble(Reason.REDIRECT_FAILED, "no answer from it"))
    async with root.watched():
        await asyncio.sleep(EVERY)
        assert root.said == f"{PASSWD}; no answer from it"
        root.trouble = None
        await asyncio.sleep(4 * EVERY)
        assert (root.lost, root.said) == ("", "")


NOTHING = [
    f.UNKNOWN,
    f.RedirectFact(),
    f.RedirectFact(f.Level.BLOCK, f.Level.RELEASED),
    f.RedirectFact(f.Level.ON, f.Level.ON, slot=Slot.STANDBY),
]


@pytest.mark.parametrize("redirect", NOTHING, ids=["unread", "unknown", "blocked", "standby"])
async def test_nothing_is_missed_while_nothing_is_prepared(redirect: f.Maybe[f.RedirectFact]) -> None:
    root = Root(PASSWD)
    async with root.watched(redirect):
        await asyncio.sleep(60)
        assert (root.asked, root.said) == ([], "")
