"""Messages of netlink. Who asks the kernel reads and writes the sockets."""

import struct
import sys
from collections.abc import Iterator
from typing import Final

HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
ERROR: Final = 2
DONE: Final = 3
REQUEST: Final = 0x1
DUMP: Final = 0x300


def message(kind: int, flags: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each."""
    at = 0
    while at + HEADER.size <= len(datagram):
        length, kind, *_ = HEADER.unpack_from(datagram, at)
        yield kind, datagram[at + HEADER.size : at + length]
        at += max((length + 3) & ~3, HEADER.size)


def error_number(kind: int, body: bytes) -> int:
    """The errno with which the kernel ends its answer; 0: none. A dump that fails midway says so at its end."""
    if kind not in (ERROR, DONE) or len(body) < 4:
        return 0
    return max(0, -int.from_bytes(body[:4], sys.byteorder, signed=True))
