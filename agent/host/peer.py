"""Who is at the other end of a unix socket, as the kernel reports it (SO_PEERCRED)."""

import socket
import struct
from typing import Final

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


def uid(connection: socket.socket) -> int:
    """Of the process that connected, or that listens; of a socket of systemd, root."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[1])
