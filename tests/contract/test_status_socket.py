"""The agent's unix socket, by real clients over a real socket."""

import asyncio
import http.client
import json
import math
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.status_socket import PushSocket, StatusSocket, listening
from agent.cli.kit.client import Client
from agent.cli.kit.exits import Exit, Failure
from agent.core.facts import PhaseKind
from agent.core.reasons import Reason
from agent.host import Host
from agent.loops.board import Board
from agent.ports import Trouble
from tests.core import world
from tests.lab.reachable import reachable


class Agent:
    def __init__(self, prefix: Path) -> None:
        self.prefix, self.board = prefix, Board()
        self.asked: list[PhaseKind] = []
        self.trouble: Trouble | None = None
        self.path = prefix / "run/fairlead/fairlead.sock"
        self.path.parent.mkdir(parents=True)
        self.pushed: list[tuple[str, float]] = []
        pushes = {"beat": 60.0, "o dd/": 5.0}
        orders = {"restart": self.order}
        self.ordered: list[dict[str, Any]] = []
        self.socket = StatusSocket(self.path, self.shot, self.board.changed, self.ask, orders)
        self.pushes = PushSocket(Host(prefix).push_socket, pushes, self.push)

    def shot(self) -> dict[str, Any]:
        return {"version": self.board.version, "headline": "hello"}

    async def ask(self, phase: PhaseKind) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.asked.append(phase)

    async def order(self, words: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if self.trouble is not None:
            raise self.trouble
        self.ordered.append(dict(words))
        return {"level": "info"} if words else None

    def push(self, name: str, ttl: float) -> None:
        self.pushed.append((name, ttl))

    async def client(self, use: Callable[[Client], Any]) -> Any:
        """What a client does, beside the agent's loop."""
        return await asyncio.to_thread(use, Client(str(self.prefix), "try", timeout=10))

    async def pusher(self, use: Callable[[Client], Any]) -> Any:
        return await asyncio.to_thread(use, Client(str(self.prefix), "try", timeout=10, pushes=True))


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    found = Agent(tmp_path)
    async with found.socket.serving(), found.pushes.serving():
        yield found


async def test_the_status(agent: Agent) -> None:
    assert await agent.client(Client.status) == agent.shot()
    assert stat.S_IMODE(agent.path.stat().st_mode) == 0o660


async def test_a_change_is_waited_for(agent: Agent) -> None:
    version = agent.board.version
    waiting = asyncio.create_task(agent.client(lambda c: c.status(after=version)))
    while not agent.board.facts.bells:
        await asyncio.sleep(0)
    assert not waiting.done()
    agent.board.setter("probes")(world.probes("pass"))
    assert (await waiting)["version"] > version
    assert agent.board.facts.bells == [], "no waiter is left"


async def test_a_wait_ends(agent: Agent) -> None:
    for wait in ("0", "-1", "0.01"):
        assert await agent.client(lambda c, w=wait: c.ask("GET", f"/v1/status?after=0&wait={w}"))  # type: ignore[misc]
    assert await agent.client(lambda c: c.status(after=agent.board.version + 1, wait=30)), (
        "another version: at once"
    )


async def test_the_socket_outlives_a_change_of_what_serves(tmp_path: Path) -> None:
    """A client that connects between two servers is served by the next; a broken request is repeated."""
    first, second = Agent(tmp_path / "a"), Agent(tmp_path / "b")
    client = Client(str(first.prefix), "try", timeout=10)
    second.board.setter("probes")(world.probes("pass"))
    with listening(first.path) as kept:
        async with first.socket.serving(kept):
            version = first.board.version
            broken_off = asyncio.create_task(asyncio.to_thread(client.status, version, 30))
            while not first.board.facts.bells:
                await asyncio.sleep(0)
        between = asyncio.create_task(asyncio.to_thread(client.phase, "left"))
        while not _has_come(first.path):
            await asyncio.sleep(0.001)
        async with second.socket.serving(kept):
            await asyncio.gather(broken_off, between)
        assert second.asked == [PhaseKind.LEFT] and first.asked == []
    assert not first.path.exists()


def _has_come(path: Path) -> bool:
    """A client has connected and was not accepted: a socket of that name beside the one that listens."""
    names = [line.split()[-1] for line in Path("/proc/self/net/unix").read_text().splitlines() if "/" in line]
    return names.count(str(path)) > 1


async def test_a_socket_that_lost_its_name_is_made_anew(tmp_path: Path) -> None:
    found = Agent(tmp_path)
    with listening(found.path) as kept:
        found.path.unlink()
        async with found.socket.serving(kept):
            assert await found.client(Client.status) == found.shot()


async def test_a_remedy_of_its_own_goes_before_the_registrys(agent: Agent) -> None:
    agent.trouble = Trouble(Reason.PROXY_BINARY_UNUSABLE, "there is none", remedy="see: fairlead proxy list")
    with pytest.raises(Failure) as caught:
        await agent.client(lambda c: c.order("restart"))
    assert caught.value.remedy == "see: fairlead proxy list"


async def test_a_client_that_goes_away_leaves_no_waiter(agent: Agent) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(agent.path))
        client.sendall(f"GET /v1/status?after={agent.board.version} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while not agent.board.facts.bells:
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while agent.board.facts.bells:
            agent.board.setter("probes")(world.probes("pass"))
            await asyncio.sleep(0.01)


async def test_the_phase_is_asked_for(agent: Agent) -> None:
    await agent.client(lambda c: c.phase("left"))
    await agent.client(lambda c: c.phase("member"))
    assert agent.asked == [PhaseKind.LEFT, PhaseKind.MEMBER]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"phase": "gone"}', b'{"phase": ["left"]}', b"\xff"])
async def test_nonsense_is_refused(agent: Agent, body: bytes) -> None:
    status, answer = await asyncio.to_thread(post, agent.path, body)
    assert status == 400 and "left" in answer["remedy"] and agent.asked == []


async def test_an_order_is_carried_out(agent: Agent) -> None:
    assert (await agent.client(lambda c: c.order("restart")))["headline"] == "hello"
    assert await agent.client(lambda c: c.order("restart", version="2.366.0")) == {"level": "info"}
    assert agent.ordered == [{}, {"version": "2.366.0"}]


async def test_an_order_that_cannot_be_carried_out_says_why(agent: Agent) -> None:
    agent.trouble = Trouble(Reason.PROXY_REPLACING, "it is starting")
    with pytest.raises(Failure, match="it is starting"):
        await agent.client(lambda c: c.order("restart"))
    status, _ = await asyncio.to_thread(post, agent.path, b"{}", "/v1/orders/restart")
    assert status == 409, "it is not an error of the server"
    with pytest.raises(Failure, match="there is no such order"):
        await agent.client(lambda c: c.order("dance"))


async def test_a_heartbeat_is_pushed(agent: Agent) -> None:
    assert await agent.pusher(lambda c: c.push("beat", 30.0)) == {"probe": "beat", "ttl": 30.0}
    await agent.pusher(lambda c: c.push("beat", None))
    await agent.pusher(lambda c: c.push("o dd/", 0.5))
    assert agent.pushed == [("beat", 30.0), ("beat", 60.0), ("o dd/", 0.5)]


@pytest.mark.parametrize("ttl", [0, -1, 60.1, math.inf])
async def test_a_heartbeat_that_vouches_for_too_long_or_not_at_all_is_refused(agent: Agent, ttl: float) -> None:
    with pytest.raises(Failure, match="a push cannot vouch for") as caught:
        await agent.pusher(lambda c: c.push("beat", ttl))
    assert "at most 60 s" in caught.value.remedy and agent.pushed == []


async def test_a_heartbeat_for_no_probe_is_refused(agent: Agent) -> None:
    with pytest.raises(Failure, match="no probe 'beet' waits for a push") as caught:
        await agent.pusher(lambda c: c.push("beet", 30.0))
    assert "beat" in caught.value.remedy and agent.pushed == []


NO_TTL = [b'{"ttl": "long"}', b'{"ttl": null}', b'{"ttl": NaN}']
HOSTILE = [b'{"ttl": ' + b"9" * 400 + b"}", b"[" * 100_000, b'{"ttl": ' + b"[" * 100_000]  # an attack, too


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"ttl": "long"}', b'{"ttl": null}', b'{"ttl": NaN}', b"\xff", *HOSTILE]
)
async def test_a_heartbeat_of_nonsense_is_refused(agent: Agent, body: bytes) -> None:
    status, _ = await asyncio.to_thread(post, Host(agent.prefix).push_socket, body, "/v1/probes/beat")
    assert status == 400 and agent.pushed == []


def post(path: Path, body: bytes, target: str = "/v1/phase") -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("agent")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request("POST", target, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found: dict[str, Any] = json.loads(answer.read())
    connection.close()
    return answer.status, found


async def test_trouble_is_told_with_its_way_out(agent: Agent) -> None:
    agent.trouble = Trouble(Reason.PHASE_UNWRITABLE, "disk full")
    with pytest.raises(Failure) as caught:
        await agent.client(lambda c: c.phase("left"))
    assert "disk full" in caught.value.message and caught.value.remedy


@pytest.mark.real
async def test_another_user_may_read_and_not_change(agent: Agent, root: None) -> None:
    """A socket that is opened for reading is not open for changes."""
    agent.path.chmod(0o666)
    reachable(agent.prefix)
    said = await asyncio.to_thread(as_user, 2102, lambda: post(agent.path, b'{"phase": "left"}'))
    assert said[0] == 403 and agent.asked == []
    said = await asyncio.to_thread(as_user, 2102, lambda: post(agent.path, b"{}", "/v1/orders/restart"))
    assert said[0] == 403 and agent.ordered == []


def as_user(uid: int, do: Callable[[], Any]) -> Any:
    """Do it in a child that has become another user."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        os.write(write, json.dumps(do()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        text = said.read()
    os.waitpid(pid, 0)
    return json.loads(text)


async def test_what_a_dead_agent_left_is_replaced(tmp_path: Path) -> None:
    found = Agent(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(found.path))
    with pytest.raises(Failure) as caught:
        await found.client(Client.status)
    assert caught.value.code is Exit.UNAVAILABLE
    async with found.socket.serving():
        assert await found.client(Client.status) == found.shot()
    assert not found.path.exists()
