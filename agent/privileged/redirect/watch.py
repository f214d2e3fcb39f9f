"""A socket on which the kernel reports every change to nftables.

Joining the group needs CAP_NET_ADMIN and reading does not, so root opens it and passes it to the agent.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from agent.core.reasons import Reason
from agent.privileged import Refusal

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NFNLGRP_NFTABLES: Final = 7
_BUFFER: Final = 1 << 18  # bytes; when it overflows the kernel reports that, and the reader looks once


@contextmanager
def subscribed() -> Iterator[socket.socket]:
    """Raises Refusal."""
    try:
        notices = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
    except OSError as error:
        raise _refusal(error) from None
    with notices:
        try:
            notices.bind((0, 0))
            notices.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
            notices.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        except OSError as error:
            raise _refusal(error) from None
        yield notices


def _refusal(error: OSError) -> Refusal:
    if isinstance(error, PermissionError):
        return Refusal("cannot watch the rules: CAP_NET_ADMIN is missing", Reason.REDIRECT_FORBIDDEN)
    return Refusal(f"cannot watch the rules: {error.strerror}", Reason.REDIRECT_UNSUPPORTED)
