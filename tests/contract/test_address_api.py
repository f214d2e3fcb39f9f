"""One suite for AddressApi: in memory, and on a real kube-apiserver."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.kube import fleet
from agent.core import addresses
from agent.core.addresses import Key
from agent.core.reasons import Reason
from agent.core.watch.fleet import ALL
from agent.ports import Trouble
from agent.watcher_ports import AddressApi
from tests.contract import fleet_worlds

POD, NODE, V6 = (addresses.comparable(text) for text in ("192.0.2.101", "192.0.2.102", "2001:db8::101"))
MINE: frozenset[Key] = frozenset({POD, NODE, V6})


class Memory(fleet_worlds.Memory):
    def pod(self, name: str, *texts: str) -> None:
        self.api.pods_there |= {addresses.comparable(text): (self.namespace, name) for text in texts}

    def ended(self, name: str, *texts: str) -> None:
        """It has none."""

    def node(self, name: str, text: str) -> None:
        self.api.nodes_there[addresses.comparable(text)] = name

    def refuse(self) -> None:
        forbidden = Trouble(Reason.API_FORBIDDEN, "no")
        self.api.troubles = {"pods": forbidden, "nodes": forbidden}


class Real(fleet_worlds.Real):
    def pod(self, name: str, *texts: str, phase: str = "Running") -> None:
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        spec = {"containers": [{"name": "c", "image": "registry.example/c"}]}
        self.server.must("POST", path, {"metadata": {"name": name}, "spec": spec})
        status = {"phase": phase, "podIP": texts[0], "podIPs": [{"ip": text} for text in texts]}
        self._patch(f"{path}/{name}/status", status)

    def ended(self, name: str, *texts: str) -> None:
        self.pod(name, *texts, phase="Succeeded")

    def node(self, name: str, text: str) -> None:
        self.server.request("DELETE", f"/api/v1/nodes/{name}")
        self.server.must("POST", "/api/v1/nodes", {"metadata": {"name": name}})
        listed = [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": text}]
        self._patch(f"/api/v1/nodes/{name}/status", {"addresses": listed})

    def _patch(self, path: str, status: object) -> None:
        self.server.must("PATCH", path, {"status": status}, content_type="application/merge-patch+json")

    def refuse(self) -> None:
        self.token.write_text(self.server.host_token)


World = Memory | Real


@pytest.fixture(params=fleet_worlds.ROWS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with fleet_worlds.made(request, tmp_path, Memory, Real) as found:
        yield found


def port(world: World) -> AddressApi:
    return world.api


async def test_who_has_one_of_these_addresses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "PODS_PAGE", 1)
    world.pod("web", "192.0.2.101", "2001:DB8:0::101")
    world.pod("other", "192.0.2.109")
    world.ended("job", "192.0.2.102")
    world.node("node-1", "192.0.2.102")
    api, pod = port(world), (f"Pod {world.namespace}", "web")
    for scope in (world.namespace, ALL):
        assert await api.pods(scope, MINE) == {POD: pod, V6: pod}
    assert await api.pods("elsewhere", MINE) == {}
    assert await api.nodes(MINE) == {NODE: ("Node", "node-1")}
    assert await api.nodes(frozenset({POD})) == {} == await api.pods(ALL, frozenset())


async def test_not_everybody_may_read_them(world: World) -> None:
    world.refuse()
    for reading in (port(world).pods(ALL, MINE), port(world).nodes(MINE)):
        with pytest.raises(Trouble) as caught:
            await reading
        assert caught.value.reason is Reason.API_FORBIDDEN
