"""Who the caller is: behind a unix socket, the kernel reports it (SO_PEERCRED)."""

import socket
import stat
from os import dup, fstat

from agent.host import AGENT, agent_uid, peer
from agent.privileged import Refusal
from agent.privileged.helper.request import Request
from agent.privileged.helper.verbs import Who


def must_be_allowed(request: Request) -> None:
    """Raises Refusal. A user who starts this program manually, without a socket, is root already or has no rights
    here."""
    if not stat.S_ISSOCK(fstat(0).st_mode):
        return
    uid = _peer()
    if uid == 0:
        return
    if uid != agent_uid():
        raise Refusal(f"cannot serve uid {uid}: it is neither root nor {AGENT!r}")
    if request.row.who is Who.ROOT:
        raise Refusal(f"cannot do {request.verb!r} for the agent: only root may request it")


def _peer() -> int:
    with socket.socket(fileno=dup(0)) as connection:
        if connection.family is not socket.AF_UNIX:
            raise Refusal("cannot serve this caller: it is not connected by a unix socket")
        return peer.uid(connection)
