"""A server that ends while a client comes: at each step of the loop the client is served, or sees the end."""

import asyncio
import contextlib
import re
import socket
from pathlib import Path

import pytest

from agent.adapters.http_server import Server
from agent.host import serving
from agent.sandbox.stage.pod import pod

ROOT = Path(__file__).parents[2]
STEPS = range(7)  # of the loop, from the client's connection to the end; at the last one it has long been accepted
ASKED = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("steps", STEPS)
async def test_each_accepted_client_reaches_the_handler(steps: int) -> None:
    reached = []

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer)
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        await _steps(steps)
        await serving.close(server)
        assert len(reached) == (steps >= 2), "accepted in the first step or the second, and else refused"
        assert await _ended(client)


@pytest.mark.parametrize("steps", STEPS)
async def test_a_client_of_the_agents_socket_is_not_left_without_an_end(steps: int, tmp_path: Path) -> None:
    """The listener stays, for the server of the next configuration: a client that was not accepted is its."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        async with Server([]).serving(listener.dup(), 10):
            client.connect(path)
            await _steps(steps)
        client.setblocking(False)
        async with Server([]).serving(listener.dup(), 10):
            with contextlib.suppress(BrokenPipeError):  # the first server has ended it
                await asyncio.get_running_loop().sock_sendall(client, ASKED)
            assert await _ended(client)


@pytest.mark.parametrize("steps", STEPS)
async def test_a_client_of_a_server_of_the_sandbox_is_not_left_without_an_end(steps: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = free.getsockname()
    with socket.socket() as client:
        async with pod(*place):
            client.connect(place)
            await _steps(steps)
        assert await _ended(client)


PLAIN = re.compile(r"\.TCPSite\(|async with.* await asyncio\.start_\w+\(")


def test_no_server_ends_in_the_plain_way() -> None:
    """Which forgets clients; what is allowed is `closing(await asyncio.start_…`."""
    found = [
        f"{path}: {line.strip()}"
        for folder in ("agent", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if PLAIN.search(line) and "closing(" not in line and "re.compile" not in line
    ]
    assert found == []


async def _steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _ended(client: socket.socket) -> bool:
    """By EOF or a reset: nothing has to be collected first."""
    client.setblocking(False)
    try:
        async with asyncio.timeout(10):
            while await asyncio.get_running_loop().sock_recv(client, 4096):
                pass
    except ConnectionResetError:
        pass
    return True
