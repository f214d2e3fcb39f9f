"""A TCP proxy that simulates network faults: delays, resets, and silence on open connections."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.host import serving


class FaultyNetwork:
    """`delay`: seconds before each piece. `silent`: nothing passes, nothing is closed. `refuse`: every
    new connection is reset at once."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.port, self.delay, self.silent, self.refuse = 0, 0.0, False, False
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def reset(self) -> None:
        """Break every connection with RST."""
        for writer in self._open:
            with contextlib.suppress(OSError):
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            if not self.refuse:
                await self._between(reader, writer)
        except* (OSError, asyncio.CancelledError):
            pass  # one end has closed, or the network failed
        finally:
            self._leave(writer)
            self._tasks.discard(task)

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._open.add(back)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back))
                group.create_task(self._pump(there, writer))
        finally:
            self._leave(back)

    def _leave(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.transport.abort()

    async def close(self) -> None:
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            await asyncio.sleep(self.delay)
            if not self.silent:
                writer.write(piece)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def faulty_network(port: int) -> AsyncIterator[FaultyNetwork]:
    """In front of a port of this machine."""
    net = FaultyNetwork(port)
    server = await asyncio.start_server(net.serve, "127.0.0.1")
    net.port = server.sockets[0].getsockname()[1]
    try:
        yield net
    finally:
        await serving.close(server)
        await net.close()
        await server.wait_closed()
