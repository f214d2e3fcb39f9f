"""The condition fairlead.dev/Unique in virtual time."""

import asyncio
import dataclasses

import pytest

from agent.cluster.watcher.neighbours import Neighbours
from agent.cluster.watcher.uniqueness import Uniqueness
from agent.core.addresses import comparable
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
        self.near = Neighbours(self.api, self.board, self.leader.leads)
        leads = self.leader.leads
        self.unique = Uniqueness(self.api, self.board, leads, wall, wall, token, self.near.by_address)

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


async def test_a_pod_at_the_address_of_a_host() -> None:
    scene = Conflicts()
    async with scene.playing(), running(scene.unique.run(), scene.near.run()):
        scene.give(ONE, "192.0.2.1")
        scene.api.pods_there[comparable("192.0.2.1")] = ("shop", "web-7")
        scene.api.pods_there[comparable("192.0.2.9")] = ("shop", "web-8")
        await asyncio.sleep(60)
        assert scene.conditions(ONE)[-1] == (UNIQUE, "False", "AddressInCluster")
        assert scene.api.events[0][1].note.endswith(": Pod shop/web-7")
        await asyncio.sleep(500)
        assert len(scene.marked) == 1 and scene.api.calls["pods"] == 1, "on change only"
        scene.api.pods_there = {}
        await asyncio.sleep(200)
        assert scene.conditions(ONE)[-1] == (UNIQUE, "True", "HostUnique") and not scene.board.faults


async def test_without_the_right_it_is_named_once_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Conflicts()
    scene.api.troubles = {"pods": Trouble(Reason.API_FORBIDDEN, "no")}
    async with scene.playing(), running(scene.unique.run(), scene.near.run()):
        scene.give(ONE, "192.0.2.1")
        scene.api.nodes_there[comparable("192.0.2.1")] = "node-1"
        await asyncio.sleep(700)
        assert scene.api.calls["pods"] == 2 and not scene.board.faults
        assert capsys.readouterr().out.count("addresses are not compared") == 1
        assert scene.conditions(ONE)[-1] == (UNIQUE, "False", "AddressInCluster")
        scene.api.troubles = {"nodes": Trouble(Reason.API_FAILING, "no")}
        await asyncio.sleep(600)
        assert [fault.reason for fault in scene.board.faults.values()] == [Reason.API_FAILING]
        assert scene.conditions(ONE)[-1] == (UNIQUE, "False", "AddressInCluster"), "what was found last"


async def test_two_machines_that_renew_one_lease() -> None:
    scene = Conflicts()
    scene.dead = {ONE}  # it is renewed here
    async with scene.playing(), running(scene.unique.run()):
        await asyncio.sleep(20)
        for number in range(8):
            scene.api.renew(ONE, renewer=f"vm-1/boot-{number % 2}")
            await asyncio.sleep(10)
        assert scene.conditions(ONE)[-1] == (UNIQUE, "False", "LeaseShared")
        assert scene.api.events[0][1].note.endswith(": vm-1/boot-0, vm-1/boot-1") and len(scene.marked) == 1
        for _ in range(70):
            scene.api.renew(ONE, renewer="vm-1/boot-1")
            await asyncio.sleep(10)
        assert scene.conditions(ONE)[-1] == (UNIQUE, "True", "HostUnique") and len(scene.marked) == 2


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
