"""Sockets of netlink that report changes."""

import socket

MOST = 1 << 16  # bytes of one datagram


def drain(notices: socket.socket) -> None:
    """Read all pending messages: they count as one change. The socket does not block."""
    try:
        while notices.recv(MOST):
            pass
    except BlockingIOError:
        return
