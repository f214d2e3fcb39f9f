"""The condition fairlead.dev/Unique in virtual time."""

import asyncio
import dataclasses

from agent.cluster.watcher.uniqueness import Uniqueness
from agent.core.facts import Condition
from agent.core.reasons import Reason
from agent.core.watch.fleet import UNIQUE, Name
from agent.ports import Trouble
from tests.loops.running import running
from tests.loops.test_watcher import READY, Scene

ONE, TWO = ("shop", "vm-1"), ("shop", "vm-2")
FOREIGN = Condition("example.org/Backup", "True", "Done")


class Conflicts(Scene):
    def __init__(self) -> None:
        super().__init__()
        wall, token = lambda: "2026-01-01T00:00:00Z", lambda: "t"
        self.unique = Uniqueness(self.api, self.board, self.leader.leads, wall, wall, token)

    def give(self, name: Name, address: str, identity: str = "") -> None:
        there = self.api.workloads_there[name]
        self.api.workloads_there[name] = dataclasses.replace(
            there, addresses=(address,), ports=(80,), identity=identity
        )

    def conditions(self, name: Name) -> list[tuple[str, str, str]]:
        return [(one.type, one.status, one.reason) for one in self.api.workloads_there[name].conditions]


async def test_both_learn_of_each_other_and_that_it_is_over() -> None:
    scene = Conflicts()
    scene.api.report(ONE, READY, FOREIGN)
    async with scene.playing(), running(scene.unique.run()):
        scene.give(ONE, "192.0.2.1")
        scene.give(TWO, "192.0.2.1")
        await asyncio.sleep(40)
        kept = [("Ready", "True", "HostReady"), (FOREIGN.type, "True", "Done")]
        assert scene.conditions(ONE) == [*kept, (UNIQUE, "False", "EndpointShared")]
        assert scene.conditions(TWO)[-1] == (UNIQUE, "False", "EndpointShared")
        assert scene.marked == [ONE, TWO] and {event.reason for _, event in scene.api.events} == {"EndpointShared"}
        await asyncio.sleep(300)
        assert len(scene.marked) == 2, "on change only"
        scene.give(TWO, "192.0.2.2")
        await asyncio.sleep(40)
        assert scene.conditions(ONE) == [*kept, (UNIQUE, "True", "HostUnique")]
        await asyncio.sleep(300)
        assert len(scene.marked) == 4


async def test_a_shared_identity_and_a_server_that_refuses() -> None:
    scene = Conflicts()
    async with scene.playing(), running(scene.unique.run()):
        scene.give(ONE, "192.0.2.1", "spiffe://td/a")
        scene.give(TWO, "192.0.2.2", "spiffe://td/a")
        scene.api.troubles = {"patch_conditions": Trouble(Reason.API_FORBIDDEN, "no")}
        await asyncio.sleep(40)
        assert scene.board.faults[UNIQUE].reason is Reason.API_FORBIDDEN
        scene.api.troubles = {}
        await asyncio.sleep(30)
        assert scene.conditions(TWO)[-1] == (UNIQUE, "False", "SpiffeIdShared") and not scene.board.faults


async def test_a_replica_that_does_not_lead_writes_nothing() -> None:
    scene = Conflicts()
    scene.lease.lease = await scene.lease.write(None, "another", 15, {})
    async with scene.playing(), running(scene.unique.run()):
        scene.give(ONE, "192.0.2.1")
        scene.give(TWO, "192.0.2.1")
        for _ in range(30):
            scene.lease.lease = await scene.lease.write(scene.lease.lease, "another", 15, {})
            await asyncio.sleep(2)
        assert scene.marked == []
