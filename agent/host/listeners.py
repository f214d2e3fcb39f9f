"""The TCP sockets of this network namespace that listen, of both IP versions, each with its address and its user.

By NETLINK_SOCK_DIAG, which any user may ask. Where a kernel lacks it or a policy refuses it, by /proc/net/tcp.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from agent.core import netlink, procfs, sock_diag
from agent.core.procfs import Listener

_SOCK_DIAG: Final = 4  # NETLINK_SOCK_DIAG
_MOST: Final = 1 << 16  # bytes of one datagram
_WITHIN: Final = 1.0  # seconds; the kernel answers while it is asked


def listening() -> list[Listener]:
    """In the network namespace of the calling thread. Raises OSError."""
    try:
        return asked()
    except OSError:
        return of_proc()


def asked() -> list[Listener]:
    """Raises OSError: the kernel does not answer such questions."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG)
    with closing(kernel):
        kernel.settimeout(_WITHIN)
        families = (sock_diag.IPV4, sock_diag.IPV6)
        return [one for family in families for one in sock_diag.listeners(_answers(kernel, family))]


def _answers(kernel: socket.socket, family: int) -> Iterator[tuple[int, bytes]]:
    kernel.send(sock_diag.request(family))
    while True:
        for kind, body in netlink.messages(kernel.recv(_MOST)):
            if number := netlink.error_number(kind, body):
                raise OSError(number, os.strerror(number))
            if kind in (netlink.DONE, netlink.ERROR):
                return
            yield kind, body


def of_proc() -> list[Listener]:
    """Raises OSError."""
    found: list[Listener] = []
    for table in tables():
        with table.open() as lines:
            found += procfs.listening(lines)
    return found


def tables() -> list[Path]:
    """Of all TCP sockets; a kernel without IPv6 has no tcp6."""
    tables = [Path("/proc/thread-self/net") / name for name in ("tcp", "tcp6")]
    return [table for table in tables if table.exists()]
