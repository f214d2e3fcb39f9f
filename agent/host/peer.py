"""Who is at the other end of a unix socket, as the kernel reports it (SO_PEERCRED, SO_PEERGROUPS)."""

from __future__ import annotations

import socket
import struct

TYPE_CHECKING = False  # type checkers know this name; that of `typing` takes long to load
if TYPE_CHECKING:
    from typing import Final

_PEER_GROUPS: Final = 59  # SO_PEERGROUPS
_MOST: Final = 1024  # bytes that socket.getsockopt takes: 256 groups
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


def uid(connection: socket.socket) -> int:
    """Of the process that connected, or that listens; of a socket of systemd, root."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[1])


def groups(connection: socket.socket) -> frozenset[int]:
    """The gid of the process that connected, and its other groups; of one with more than 256, its gid alone. Empty
    where the socket is not a unix socket."""
    if connection.family != socket.AF_UNIX:
        return frozenset()
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    own = int(_CREDENTIALS.unpack(found)[2])
    try:
        listed = connection.getsockopt(socket.SOL_SOCKET, _PEER_GROUPS, _MOST)
    except OSError:
        listed = b""
    return frozenset({own, *struct.unpack(f"{len(listed) // 4}I", listed)})
