"""One suite for GroupApi: in memory, and on a real kube-apiserver, which alone has the kind WorkloadGroup."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.core.reasons import Reason
from agent.core.watch.fleet import ALL, Name
from agent.core.watch.groups import GroupSeen, GroupStatus
from agent.core.watch.retirement import Ledger, Silent
from agent.ports import Trouble
from agent.watcher_ports import GroupApi
from tests.contract import fleet_worlds
from tests.lab.realparts import ApiServer
from tests.watcher.watching import Fleet, install_group

LEDGER = Ledger((Silent("db-1", "u", "77", 49, due=True), Silent("db-2", "v", "78")), granted=1, rest=0)
STATUS = GroupStatus(1, 3, 1, 2, 1, (("HostUnreachable", 1), ("ProbeFailing", 1)))


class Memory(fleet_worlds.Memory):
    def create(self, name: str) -> None:
        self.api.groups_there[self.namespace, name] = GroupSeen("1", 1, "digest")

    def delete(self, name: str) -> None:
        del self.api.groups_there[self.namespace, name]


class Real(fleet_worlds.Real):
    def __init__(self, server: ApiServer, token: Path) -> None:
        super().__init__(server, token)
        self._fleet = Fleet(server)
        self.namespace = self._fleet.namespace

    def create(self, name: str) -> None:
        self._path = install_group(self._fleet, name)

    def delete(self, name: str) -> None:
        self.server.must("DELETE", self._path)


World = Memory | Real


@pytest.fixture(params=fleet_worlds.ROWS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with fleet_worlds.made(request, tmp_path, Memory, Real) as found:
        yield found


def port(world: World) -> GroupApi:
    return world.api


async def test_a_status_is_read_as_it_was_written(world: World) -> None:
    api, name = port(world), (world.namespace, "db")
    world.create("db")
    for scope in (world.namespace, ALL):
        (found,) = [group for key, group in (await api.groups(scope)).items() if key == name]
        assert found.status is None and found.generation == 1 and found.template
    await api.write_group_status(name, found, STATUS)
    written = (await api.groups(world.namespace))[name]
    assert written.status == STATUS and (written.template, written.generation) == (found.template, 1)
    await api.write_group_status(name, written, GroupStatus())
    assert (await api.groups(world.namespace))[name].status == GroupStatus()


async def test_what_is_counted_of_silent_members_is_kept_beside_the_status(world: World) -> None:
    api, name = port(world), (world.namespace, "db")
    world.create("db")
    found = (await api.groups(world.namespace))[name]
    assert (found.retire_after, found.ledger) == (0, Ledger())
    await api.write_ledger(name, found, LEDGER)
    with pytest.raises(Trouble) as caught:
        await api.write_ledger(name, found, Ledger())
    assert caught.value.reason is Reason.API_CONFLICT
    written = (await api.groups(world.namespace))[name]
    assert written.ledger == LEDGER and written.template == found.template
    await api.write_group_status(name, written, STATUS)
    both = (await api.groups(world.namespace))[name]
    assert (both.ledger, both.status) == (LEDGER, STATUS)
    await api.write_ledger(name, both, Ledger())
    last = (await api.groups(world.namespace))[name]
    assert (last.ledger, last.status) == (Ledger(), STATUS)


async def test_a_write_needs_the_group_that_was_read(world: World) -> None:
    api = port(world)
    name: Name = (world.namespace, "db")
    world.create("db")
    before = (await api.groups(world.namespace))[name]
    await api.write_group_status(name, before, STATUS)
    for _ in ("changed", "gone"):
        with pytest.raises(Trouble) as caught:
            await api.write_group_status(name, before, GroupStatus())
        assert caught.value.reason is Reason.API_CONFLICT
        if name in await api.groups(world.namespace):
            world.delete("db")
    assert await api.groups(world.namespace) == {} == await api.groups("nowhere")
