"""The loopback interface, on which the proxy and the host's programs reach one another."""

import fcntl
import socket
import struct
from typing import Final

DOWN: Final = "the interface lo is down"
REMEDY: Final = "ip link set lo up"
_REQUEST: Final = struct.Struct("=16sH22x")  # struct ifreq: the name, the flags
_GET_FLAGS, _UP = 0x8913, 0x1  # SIOCGIFFLAGS, IFF_UP


def is_up() -> bool:
    """In the network namespace of the caller. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        _, flags = _REQUEST.unpack(fcntl.ioctl(asked, _GET_FLAGS, _REQUEST.pack(b"lo", 0)))
    return bool(flags & _UP)
