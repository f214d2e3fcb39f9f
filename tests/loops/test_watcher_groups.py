"""The status of WorkloadGroups in virtual time: one write of a group in 30 s at most."""

import asyncio
import dataclasses

from agent.cluster.watcher.groups import Groups
from agent.core.reasons import Reason
from agent.core.watch.fleet import Name
from agent.core.watch.groups import GroupSeen, GroupStatus
from agent.ports import Trouble
from tests.loops.running import running
from tests.loops.test_watcher import READY, Scene

DB: Name = ("shop", "db")


class Grouped(Scene):
    """The first four hosts are members; the last of them is of an older template."""

    def __init__(self) -> None:
        super().__init__()
        self.groups = Groups(self.api, self.board, self.leader.leads)
        self.api.groups_there[DB] = GroupSeen("1", 3, "new")
        for number, name in enumerate(self.names[:4]):
            self.api.members[name] = ("db", "old" if number == 3 else "new")

    @property
    def status(self) -> GroupStatus | None:
        return self.api.groups_there[DB].status


async def test_the_status_follows_the_members_and_is_not_written_at_rest() -> None:
    scene = Grouped()
    async with scene.playing(), running(scene.groups.run()):
        await asyncio.sleep(200)
        assert scene.status == GroupStatus(3, members=4, ready=4, outdated=1)
        assert scene.api.calls["write_group_status"] == 1
        for _ in range(30):  # a member that flaps
            for conditions in ((), (READY,)):
                scene.api.report(scene.names[0], *conditions)
                await asyncio.sleep(1)
        assert scene.api.calls["write_group_status"] <= 4
        scene.dead = {scene.names[1]}
        await asyncio.sleep(120)
        assert scene.status is not None
        assert (scene.status.ready, scene.status.unreachable) == (3, 1)
        assert scene.status.reasons == (("HostUnreachable", 1),)


async def test_who_does_not_lead_or_has_a_stale_view_writes_nothing() -> None:
    scene = Grouped()
    scene.lease.lease = await scene.lease.write(None, "another", 15, {})
    scene.api.troubles = {"leases": Trouble(Reason.API_FAILING, "no")}
    async with scene.playing(), running(scene.groups.run()):
        await asyncio.sleep(40)
        scene.lease.lease = await scene.lease.write(scene.lease.lease, "", 15, {})
        await asyncio.sleep(100)
        assert scene.leader.leads() and scene.status is None
        scene.api.troubles = {}
        await asyncio.sleep(60)
        assert scene.status is not None and scene.status.members == 4


async def test_missing_rights_are_named_and_a_conflict_is_not() -> None:
    scene = Grouped()
    async with scene.playing(), running(scene.groups.run()):
        scene.api.troubles = {"groups": Trouble(Reason.API_FORBIDDEN, "no")}
        await asyncio.sleep(70)
        assert scene.board.faults["WorkloadGroups"].reason is Reason.API_FORBIDDEN
        scene.api.troubles = {"write_group_status": Trouble(Reason.API_CONFLICT, "modified")}
        await asyncio.sleep(70)
        assert not scene.board.faults and scene.status is None
        scene.api.groups_there[DB] = dataclasses.replace(scene.api.groups_there[DB], version="2")
        scene.api.troubles = {}
        await asyncio.sleep(40)
        assert scene.status is not None
