"""The agent's own socket of netlink learns of every change to nftables.

Joining the group needs CAP_NET_ADMIN, and reading does not, so root adds the agent's socket to the group. The
kernel also remembers who opened a socket of netlink: if root opened it, a program of root that the agent makes
write to it (a setuid program with this socket as its standard output) changes rules (netlink_ns_capable).
"""

import socket
from typing import Final

from agent.core.reason import Reason
from agent.privileged import Refusal

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NFNLGRP_NFTABLES: Final = 7


def subscribe(descriptor: int) -> None:
    """Raises Refusal: it is no such socket, or this process may not."""
    try:
        with socket.socket(fileno=descriptor) as notices:
            if (notices.family, notices.proto) != (socket.AF_NETLINK, _NETLINK_NETFILTER):
                raise Refusal("cannot watch the rules: what came with the request is no socket of netfilter")
            notices.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
    except PermissionError:
        raise Refusal("cannot watch the rules: CAP_NET_ADMIN is missing", Reason.REDIRECT_FORBIDDEN) from None
    except OSError as error:
        raise Refusal(f"cannot watch the rules: {error.strerror}", Reason.REDIRECT_UNSUPPORTED) from None
