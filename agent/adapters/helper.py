"""The agent's side of the privileged helper: one request, one answer.

The privileged helper listens on a socket, for the agent. A process of root starts it and asks no socket. Requests
and answers are the same in both cases.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.adapters import spawn
from agent.core.reasons import Reason
from agent.host import Host, peer
from agent.ports import Trouble, Unanswered

WITHIN = 4.5  # seconds; every fact has a first value within 5 s of the start
SETS_WITHIN = 9.0  # for a verb that sets rules, on which no first value depends
MOST = 1 << 20  # bytes of an answer
_NETLINK_NETFILTER = 12
_BUFFER = 1 << 18  # bytes; when it overflows the kernel reports that, and the reader looks once

# -S: the privileged helper needs the bare interpreter alone, and starts sooner without a look at site-packages.
# -P: and nothing from the current directory.
PROGRAM = (sys.executable, "-S", "-P", "-m", "agent.privileged.helper")
_ENVIRONMENT = {**spawn.ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2])}

_UNREACHABLE = "systemctl restart fairlead-helper.socket"

Answer = Mapping[str, Any]


def netfilter_socket() -> socket.socket:
    """On which the kernel can tell of changes, in the network namespace of the caller. Raises Trouble."""
    try:
        notices = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
        notices.bind((0, 0))
        notices.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    except OSError as error:
        detail = f"cannot open a socket of netfilter: {error.strerror}"
        raise Trouble(Reason.REDIRECT_UNSUPPORTED, detail) from None
    return notices


class Helper:
    """`prefix`: below which the host's files lie. `program`: the privileged helper's command line. `starts`: this
    process starts the helper itself (None: if it is root, since another user may have made a socket). `netfilter`:
    opens a socket of netlink in the host's network namespace."""

    def __init__(
        self,
        prefix: str,
        program: Sequence[str] = PROGRAM,
        *,
        starts: bool | None = None,
        netfilter: Callable[[], socket.socket] = netfilter_socket,
    ) -> None:
        self._starts = os.geteuid() == 0 if starts is None else starts
        self._socket = Host.below(prefix).helper_socket
        self._command = [*program, "--prefix", prefix]
        self._netfilter = netfilter
        self._begun: dict[str, socket.socket] = {}

    def begin(self, verb: str) -> None:
        """Send the request now: the next `ask` of this verb, without words, receives the answer."""
        if self._starts:
            return
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connection.connect(str(self._socket))
            if peer.uid(connection) == 0:
                connection.sendall(_line(verb, {}))  # it fits into the empty buffer
                self._begun[verb] = connection
                return
        except OSError:
            pass  # `ask` connects again, and reports what is wrong
        connection.close()

    def close(self) -> None:
        while self._begun:
            self._begun.popitem()[1].close()

    async def ask(self, verb: str, failure: Reason, **words: str) -> Answer:
        """The words of the answer. Raises Trouble: the privileged helper's reason or, without one, `failure`;
        Unanswered: it could not be asked, or did not answer."""
        return await self.ask_within(WITHIN, verb, failure, words)

    async def ask_within(self, within: float, verb: str, failure: Reason, words: Mapping[str, str]) -> Answer:
        """The same. `within`: seconds, for a verb that has more of them."""
        begun = None if words else self._begun.pop(verb, None)
        request = b"" if begun else _line(verb, words)
        with begun or await self._connect(failure) or _NOBODY as connection:
            if connection is not None:
                answer = await _converse(connection, request, str(self._socket), failure, within)
                return _judge(answer, f"no answer from {self._socket}", failure)
        try:
            done = await spawn.run(self._command, input=request, within=within, environment=_ENVIRONMENT)
        except spawn.SpawnError as error:
            raise Unanswered(failure, str(error)) from None
        return _judge(done.output, f"no answer from {done.explain()}", failure)

    async def watch(self, failure: Reason) -> socket.socket:
        """A socket on which the kernel tells of each change to nftables; the caller closes it. Raises Trouble."""
        notices = self._netfilter()
        try:
            answer = await self._subscribed(notices, failure)
            _judge(answer, "no answer from the privileged helper", failure)
        except BaseException:
            notices.close()
            raise
        return notices

    async def _subscribed(self, notices: socket.socket, failure: Reason) -> bytes:
        """The answer. The socket stays this process's own: root only adds it to the group."""
        request = _line("redirect watch", {})
        with await self._connect(failure) or _NOBODY as connection:
            if connection is not None:
                return await _converse(connection, request, str(self._socket), failure, passing=notices)
        near, far = socket.socketpair()
        near.setblocking(False)
        with near, far:
            socket.send_fds(near, [request], [notices.fileno()])
            try:
                await spawn.run(self._command, within=WITHIN, environment=_ENVIRONMENT, channel=far)
            except spawn.SpawnError as error:
                raise Trouble(failure, str(error)) from None
            far.close()
            return await _converse(near, b"", self._command[0], failure)

    async def _connect(self, failure: Reason) -> socket.socket | None:
        """None: this process starts the privileged helper itself. Raises Trouble."""
        if self._starts:
            return None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(WITHIN):
                await asyncio.get_running_loop().sock_connect(connection, str(self._socket))
        except (OSError, TimeoutError) as error:
            connection.close()
            detail = f"cannot reach the privileged helper at {self._socket}: {_cause(error)}"
            raise Unanswered(failure, detail, remedy=_UNREACHABLE) from None
        except BaseException:
            connection.close()
            raise
        if (uid := peer.uid(connection)) != 0:
            connection.close()
            raise Trouble(failure, f"cannot trust {self._socket}: it belongs to uid {uid}, not to root")
        return connection


class _Nobody:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_NOBODY = _Nobody()


def _line(verb: str, words: Mapping[str, str]) -> bytes:
    return json.dumps({"verb": verb, **words}).encode() + b"\n"


async def _converse(
    connection: socket.socket,
    request: bytes,
    name: str,
    failure: Reason,
    within: float = WITHIN,
    passing: socket.socket | None = None,
) -> bytes:
    """Send the request, and `passing` with it; return the answer until the other side closes. Raises Trouble."""
    try:
        async with asyncio.timeout(within):
            if passing is not None:  # a request fits into the empty buffer of a new connection
                socket.send_fds(connection, [request], [passing.fileno()])
            elif request:
                await asyncio.get_running_loop().sock_sendall(connection, request)
            return await _received(connection)
    except (OSError, TimeoutError) as error:
        detail = f"cannot ask the privileged helper by {name}: {_cause(error, within)}"
        raise Unanswered(failure, detail) from None


async def _received(connection: socket.socket) -> bytes:
    answer = bytearray()
    while len(answer) < MOST:
        data = await asyncio.get_running_loop().sock_recv(connection, 1 << 16)
        if not data:
            break
        answer += data
    return bytes(answer)


def _cause(error: OSError | TimeoutError, within: float = WITHIN) -> str:
    return getattr(error, "strerror", None) or f"no answer within {within:g} s"


def _judge(answer: bytes, nothing: str, failure: Reason) -> Answer:
    """What a good answer says. Raises Trouble."""
    match _decoded(answer):
        case {"ok": True, **words}:
            return {str(key): value for key, value in words.items()}
        case {"ok": False, "reason": str(reason), "detail": str(detail), **words}:
            remedy = str(words.get("remedy", ""))
            raise Trouble(Reason(reason) if reason in set(Reason) else failure, detail, remedy=remedy)
    raise Unanswered(failure, nothing)


def _decoded(output: bytes) -> object:
    try:
        return json.loads(output)
    except ValueError:
        return None
