"""How many connections each user may hold to a socket of the agent.

A connection takes a descriptor, and the agent needs some to reach the API server and the privileged helper. The
kernel identifies the user (SO_PEERCRED).
"""

import asyncio
import os
from collections import Counter
from typing import Final

from agent.host import peer

MOST: Final = 64  # of all users together; root and the agent's own user are not counted
MOST_OF_ONE: Final = 16  # so that no user keeps another out


class Connections:
    """Those that are open to one socket."""

    def __init__(self) -> None:
        self._open: Counter[int] = Counter()

    def admit(self, uid: int) -> bool:
        """Whether this user may have one more; it counts from now on."""
        if uid in (0, os.geteuid()):
            return True
        if self._open[uid] >= MOST_OF_ONE or self._open.total() >= MOST:
            return False
        self._open[uid] += 1
        return True

    def closed(self, uid: int) -> None:
        if self._open[uid]:
            self._open[uid] -= 1


class Admission(asyncio.Protocol):
    """Passes everything on to `handler` if the connection is admitted, and else closes it at once."""

    def __init__(self, connections: Connections, handler: asyncio.Protocol) -> None:
        self._connections, self._handler = connections, handler
        self._uid: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        uid = peer.uid(transport.get_extra_info("socket"))
        if not self._connections.admit(uid):
            transport.abort()
            return
        self._uid = uid
        self._handler.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._uid is not None:
            self._connections.closed(self._uid)
            self._handler.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()
