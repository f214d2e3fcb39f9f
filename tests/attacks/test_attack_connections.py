"""The attacker is a user who may open one of the agent's sockets, and opens it again and again.

What must hold: the agent keeps its descriptors for the API server, and every other user is served.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agent.adapters.connections import MOST, MOST_OF_ONE
from agent.adapters.status_socket import PushSocket
from tests.attacks import status
from tests.lab.reachable import reachable

ATTACKERS, OTHER = range(2110, 2117), 2109
# Opens so many connections, waits until all but `kept` are closed, and asks by each that is open.
_FLOOD = """
import json, select, socket, sys
path, request, many, kept = sys.argv[1], sys.argv[2].encode(), *map(int, sys.argv[3:])
held = []
for _ in range(many):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    held.append(connection)
alive = set(held)
while len(alive) > kept:
    closed = select.select(alive, [], [], 10)[0]
    if not closed:
        break
    alive -= set(closed)
answers = []
for connection in alive:
    try:
        connection.sendall(request)
        answers.append(connection.recv(12).decode())
    except OSError as error:
        answers.append(str(error))
print(json.dumps(answers), flush=True)
sys.stdin.read()
"""
SERVED = "HTTP/1.1 200"


@pytest.fixture
async def path(root: None, tmp_path: Path) -> AsyncIterator[str]:
    reachable(tmp_path)
    path = tmp_path / "agent.sock"
    async with status.empty(path).serving():
        path.chmod(0o666)
        yield str(path)


@pytest.fixture
async def pushes(root: None, tmp_path: Path) -> AsyncIterator[str]:
    reachable(tmp_path)
    path = tmp_path / "push.sock"
    async with PushSocket(path, {"beat": 60.0}, lambda *_: None).serving():
        path.chmod(0o666)
        yield str(path)


STATUS = "GET /v1/status HTTP/1.1\r\nHost: agent\r\n\r\n"
PUSH = "POST /v1/probes/beat HTTP/1.1\r\nHost: agent\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def flood(uid: int, path: str, request: str, many: int, kept: int) -> AsyncIterator[list[str]]:
    """The answers on the connections that stay open; they are open until the block ends."""
    words = ("/usr/bin/python3", "-I", "-c", _FLOOD, path, request, str(many), str(kept))
    pipe = subprocess.PIPE
    running = await asyncio.create_subprocess_exec(
        *words, stdin=pipe, stdout=pipe, user=uid, group=uid, extra_groups=[], env={**os.environ}, cwd="/"
    )
    assert running.stdout is not None
    async with asyncio.timeout(60):
        line = await running.stdout.readline()
    yield json.loads(line)
    await running.communicate(b"")


async def test_attack_one_user_opens_all_connections(path: str) -> None:
    async with flood(ATTACKERS[0], path, STATUS, 200, MOST_OF_ONE) as answers:
        assert answers == [SERVED] * MOST_OF_ONE
        async with flood(OTHER, path, STATUS, 1, 1) as other:
            assert other == [SERVED]
    async with flood(ATTACKERS[0], path, STATUS, MOST_OF_ONE, MOST_OF_ONE) as again:
        assert again == [SERVED] * MOST_OF_ONE, "closed connections no longer count"


async def test_attack_many_users_open_all_connections(pushes: str) -> None:
    async with AsyncExitStack() as attackers:
        for uid in ATTACKERS[: MOST // MOST_OF_ONE]:
            answers = await attackers.enter_async_context(flood(uid, pushes, PUSH, 50, MOST_OF_ONE))
            assert answers == [SERVED] * MOST_OF_ONE
        async with flood(ATTACKERS[-1], pushes, PUSH, 5, 0) as refused, flood(0, pushes, PUSH, 20, 20) as root:
            assert (refused, root) == ([], [SERVED] * 20), "root is always served"


async def test_attack_by_a_body_without_an_end(pushes: str) -> None:
    long = f"POST /v1/probes/beat HTTP/1.1\r\nHost: agent\r\nContent-Length: 999999\r\n\r\n{'a' * 100_000}"
    async with flood(ATTACKERS[0], pushes, long, 1, 1) as answers:
        assert answers == ["HTTP/1.1 400"]
