"""The hours of silent members in virtual time: who counts them, and in which hours nobody does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.cluster.watcher.judge import Judge
from agent.cluster.watcher.retiring import Retiring
from agent.core.facts import Condition
from agent.core.reasons import Reason
from agent.core.watch.fleet import Name
from agent.core.watch.groups import GroupSeen
from agent.core.watch.limits import Limits
from agent.core.watch.retirement import Ledger
from agent.ports import Trouble
from tests.loops.running import running
from tests.loops.test_watcher import Scene

DB: Name = ("shop", "db")
DEAD, OFF = ("shop", "vm-1"), ("shop", "vm-2")
HOUR = 3600


class Old(Scene):
    """All hosts are members; one died, and one was shut down."""

    def __init__(self, after: int = 2) -> None:
        super().__init__()
        self.board.limits = Limits(look_every=60.0, shortest=300.0)  # hours pass
        self.leading, text = True, lambda: "t"
        self.judge = Judge(self.api, self.board, lambda: self.leading, self.lease, text, text, text)
        self.retiring = Retiring(self.api, self.board, lambda: self.leading)
        self.api.groups_there[DB] = GroupSeen("1", 1, "new", retire_after=after)
        for name in self.names:
            self.api.members[name] = ("db", "new")
        self.api.report(OFF, Condition("Ready", "False", "ShuttingDown"))
        self.dead = {DEAD, OFF}

    @property
    def hours(self) -> dict[str, int]:
        return {one.name: one.hours for one in self.api.groups_there[DB].ledger.silent}

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        async with running(self.renew(), self.judge.run(), self.observer.run(), self.retiring.run()):
            yield

    async def renew(self) -> None:
        while True:
            for name in self.names:
                if name not in self.dead:
                    self.api.renew(name)
            await asyncio.sleep(50)


async def test_hours_are_counted_of_those_that_are_silent_and_not_ready() -> None:
    scene = Old()
    async with scene.playing():
        await asyncio.sleep(HOUR + 200)
        assert scene.hours == {"vm-1": 0, "vm-2": 0}
        await asyncio.sleep(HOUR)
        assert scene.hours == {"vm-1": 1, "vm-2": 1} and scene.api.calls["write_ledger"] == 2
        scene.dead = {OFF}
        await asyncio.sleep(HOUR)
        assert scene.hours == {"vm-2": 2}
        assert not scene.board.faults


async def test_a_group_without_the_setting_has_none_of_it() -> None:
    scene = Old(after=0)
    async with scene.playing():
        await asyncio.sleep(3 * HOUR)
        assert scene.api.calls["groups"] >= 2 and not scene.api.calls["write_ledger"]
        assert scene.api.groups_there[DB].ledger == Ledger()


async def test_an_hour_without_a_view_or_in_which_all_are_silent_is_not_counted() -> None:
    scene = Old()
    async with scene.playing():
        await asyncio.sleep(HOUR + 200)
        for _ in range(4):  # every half an hour the API server is away
            scene.api.troubles = {"leases": Trouble(Reason.API_FAILING, "no")}
            await asyncio.sleep(300)
            scene.api.troubles = {}
            await asyncio.sleep(HOUR / 2)
        assert scene.hours == {"vm-1": 0, "vm-2": 0}
        scene.dead = set(scene.names)
        await asyncio.sleep(5 * HOUR)
        assert scene.hours == {"vm-1": 0, "vm-2": 0}, "nobody is heard"


async def test_who_does_not_lead_counts_nothing_and_missing_rights_are_named() -> None:
    scene = Old()
    async with scene.playing():
        scene.leading = False
        await asyncio.sleep(3 * HOUR)
        assert not scene.api.calls["write_ledger"]
        scene.leading = True
        scene.api.troubles = {"write_ledger": Trouble(Reason.API_FORBIDDEN, "no")}
        await asyncio.sleep(HOUR + 200)
        assert scene.board.faults["retirement of old members"].reason is Reason.API_FORBIDDEN
        scene.api.troubles = {"write_ledger": Trouble(Reason.API_CONFLICT, "modified")}
        await asyncio.sleep(HOUR)
        assert not scene.board.faults and scene.hours == {}
