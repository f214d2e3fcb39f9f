"""The end of a server of asyncio, which loses none of the clients that it has accepted.

`Server.close` forgets a connection that was accepted and has no transport yet: making one fails (in Python 3.11 by
an assertion), nothing closes the socket, and its client waits until the garbage is collected.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_TO_THE_HANDLER: Final = 2  # steps of the loop: connection_made, and the start of the task that it makes


async def close(server: asyncio.Server) -> None:
    """On return nothing more is accepted, and each client that was is with its handler, or in a TLS handshake."""
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    try:
        await asyncio.sleep(0)  # those that were accepted get their transports
    finally:
        server.close()
    for _ in range(_TO_THE_HANDLER):
        await asyncio.sleep(0)


@asynccontextmanager
async def closing(server: asyncio.Server) -> AsyncIterator[asyncio.Server]:
    try:
        yield server
    finally:
        await close(server)
