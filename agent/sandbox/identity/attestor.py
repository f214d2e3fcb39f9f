"""Attests callers: a unix socket in front of a gRPC server that gives it the caller's uid.

gRPC hides the connection of a call, so it cannot attest callers. Here asyncio accepts the public
socket, the kernel is asked who connected (SO_PEERCRED), and the bytes are relayed to gRPC over a second
connection whose near end is bound to a name that the kernel makes up (autobind, unix(7)). That name is what
gRPC calls the peer, and while the relay lives no other socket can have it: it leads back to the uid. gRPC
keeps its HTTP/2 and nothing is parsed here; a process that dials gRPC directly has an unknown name.
"""

import asyncio
import socket
import struct
from pathlib import Path

from agent.host import serving

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_CHUNK = 1 << 16


class Attestor:
    """Listens at `path` for every user and relays to the abstract unix socket `inner`, from start to stop.

    While `open` is not set, connections are accepted and held.
    """

    def __init__(self, path: Path, inner: str, open: asyncio.Event) -> None:
        self._path, self._inner, self._open = path, inner, open
        self._uids: dict[str, int] = {}
        self._relays: set[asyncio.Task[None]] = set()

    def uid(self, peer: str) -> int | None:
        """Whose connection it is that gRPC calls `peer`."""
        return self._uids.get(peer)

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, sock=_listen(self._path))

    async def stop(self) -> None:
        """Remove the socket and end every connection."""
        self._path.unlink(missing_ok=True)
        await serving.close(self._server)
        relays = list(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.create_task(self._attest(reader, writer), name="attestor: relay")
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)

    async def _attest(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._open.wait()
            inner = _dial(self._inner)
            peer = f"unix-abstract:{inner.getsockname()[1:].decode()}"
            self._uids[peer] = _peer_uid(writer)
            try:
                await _relay(reader, writer, *await asyncio.open_unix_connection(sock=inner))
            finally:
                del self._uids[peer]
        finally:
            writer.close()


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path`, in place of an existing file; open to all users, as SPIRE's.

    It appears under its name only when it accepts: linkerd2-proxy does not survive a first connect that is
    refused (docs/linkerd.md §1.6).
    """
    draft = path.with_name(f"{path.name}~")
    draft.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(draft))
    draft.chmod(0o777)
    listener.listen()
    draft.rename(path)
    return listener


def _dial(inner: str) -> socket.socket:
    """Never waits: the other end is this very process."""
    dialled = socket.socket(socket.AF_UNIX)
    dialled.bind("")  # autobind
    dialled.connect(f"\0{inner}")
    return dialled


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    accepted: socket.socket = writer.get_extra_info("socket")
    raw = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return int(uid)


async def _relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    inner_reader: asyncio.StreamReader,
    inner_writer: asyncio.StreamWriter,
) -> None:
    """Carry bytes both ways. The end of one way closes its target, and so ends the other way too."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_pump(reader, inner_writer))
        group.create_task(_pump(inner_reader, writer))


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
    except ConnectionError:
        return  # either peer may close at any time; that ends the connection normally
    finally:
        target.close()
