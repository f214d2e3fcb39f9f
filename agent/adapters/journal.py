"""journald's native protocol: one datagram an entry, fields as they are searched for with journalctl.

Standard library alone: the protocol is stable and this is all of it that is needed (systemd.io, "Native Journal
Protocol"). An entry larger than a datagram may be would go by a sealed file; ours are cut instead.
"""

import os
import socket
import struct
from collections.abc import Mapping

from agent.core.text import ESCAPED

SOCKET = "/run/systemd/journal/socket"
MOST = 1 << 15  # bytes of one value


def is_journal(descriptor: int, environment: Mapping[str, str]) -> bool:
    """Whether this descriptor is still the one that the service manager connected to the journal."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Journal:
    """A writer of entries. Never waits: where journald cannot take an entry at once, `send` raises OSError."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def send(self, fields: Mapping[str, str]) -> None:
        """Field names: capital letters, digits, underscores. Found by name each time, for journald may restart."""
        self._socket.sendto(encode(fields), self._path)

    def close(self) -> None:
        self._socket.close()


def encode(fields: Mapping[str, str]) -> bytes:
    return b"".join(_field(name.encode(), value.encode(errors=ESCAPED)[:MOST]) for name, value in fields.items())


def _field(name: bytes, value: bytes) -> bytes:
    """A value of several lines goes by its length, or it would end at the first."""
    if b"\n" in value:
        return name + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name + b"=" + value + b"\n"
