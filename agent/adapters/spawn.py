"""Runs short helper programs: bounded in time and output, always reaped, and failures explained.

Law: no other adapter starts a program. A program gets a separate session, so that after a timeout or a
cancellation its children end too.
"""

import asyncio
import ctypes
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

MOST = 1 << 20  # bytes kept of standard output, and of standard error; the rest is read and dropped

# Helpers are spoken to in one language and inherit nothing that steers them.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


_PR_SET_NO_NEW_PRIVS = 38


def gain_nothing() -> None:
    """From now on neither this thread nor its children gain privileges by executing a program (set-uid, file
    capabilities). An unprivileged agent could not end a set-uid program of another user after its timeout. The
    unit sets the same; this is for an agent without a unit. It cannot be reverted."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot give up new privileges: {os.strerror(number)}")


class SpawnError(Exception):
    """The program could not be started, or did not end in time: "cannot run X: cause". `number`: errno of a
    start that failed; None when the time was over."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number


@dataclass(frozen=True)
class Finished:
    """A program that has ended before its timeout. `code`: its exit code, or minus the number of a signal."""

    program: str
    code: int
    output: bytes
    errors: bytes

    def explain(self) -> str:
        """How it ended, and the last that it said about it."""
        lines = self.errors.decode(errors="replace").split("\n")
        last_line = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        ended = f"exit {self.code}" if self.code >= 0 else f"killed by {signal.Signals(-self.code).name}"
        return f"{self.program}: {ended}: {last_line}"


async def run(
    command: Sequence[str],
    *,
    input: bytes = b"",
    within: float,
    environment: Mapping[str, str] = ENVIRONMENT,
    owner: tuple[int, int] | None = None,
    channel: socket.socket | None = None,
    strict: bool = False,
) -> Finished:
    """Run a program to its end. `within`: seconds. `owner`: the uid and gid to run it as. `channel`: a socket
    in place of its standard input and output. `strict`: one that says more than MOST is left standing until its
    time is over (to read on costs a core), and what it leaves behind is ended with it. Raises SpawnError."""
    options: dict[str, Any] = {"env": environment}
    if owner is not None:
        options |= {"user": owner[0], "group": owner[1], "extra_groups": []}
    if channel is not None:
        options |= {"stdin": channel, "stdout": channel}
    try:
        transport, watch = await _start(command, options)
        watch.strict = strict
    except OSError as error:
        raise SpawnError(f"cannot run {command[0]}: {error.strerror}", error.errno) from None
    try:
        async with asyncio.timeout(within):
            if channel is None:
                _tell(transport, input)
            await watch.ended.wait()
    except TimeoutError:
        flood = f", and more than {MOST >> 20} MiB of output" if watch.flooded else ""
        raise SpawnError(f"cannot run {command[0]}: no end within {within:g} s{flood}") from None
    finally:
        await _clear(transport, watch)
    code = transport.get_returncode()
    assert code is not None
    return Finished(command[0], code, bytes(watch.said[1]), bytes(watch.said[2]))


async def _start(
    command: Sequence[str], options: Mapping[str, Any]
) -> "tuple[asyncio.SubprocessTransport, _Watch]":
    """A cancelled start would kill only the program and then wait without end for its children to close its
    output. So a start always finishes; if the caller was cancelled, the program is ended at once."""
    starting = asyncio.ensure_future(
        asyncio.get_running_loop().subprocess_exec(_Watch, *command, cwd="/", start_new_session=True, **options)
    )
    try:
        await asyncio.wait([starting])
    except asyncio.CancelledError:
        await asyncio.wait([starting])
        if starting.exception() is None:
            await _clear(*starting.result())
        raise
    return starting.result()


class _Watch(asyncio.SubprocessProtocol):
    """`ended`: the program is reaped, and no process holds its output open. `said`: by file descriptor."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.said = {1: bytearray(), 2: bytearray()}
        self.strict = self.flooded = False
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        said = self.said[fd]
        said += data[: MOST - len(said)]
        if self.strict and len(said) == MOST:
            self.flooded = True
            assert self._transport is not None
            pipe = self._transport.get_pipe_transport(fd)
            assert isinstance(pipe, asyncio.ReadTransport)
            pipe.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


def _tell(transport: asyncio.SubprocessTransport, input: bytes) -> None:
    pipe = transport.get_pipe_transport(0)
    assert isinstance(pipe, asyncio.WriteTransport)
    pipe.write(input)
    pipe.write_eof()  # the program may leave input unread


async def _clear(transport: asyncio.SubprocessTransport, watch: _Watch) -> None:
    """End the program and all that it started, and reap it, also while the caller is being cancelled.

    The kernel does not reuse a group's number while a process of the group runs, and reuses it last after that: a
    signal to a group that has just ended reaches no other process.
    """
    if watch.strict or not watch.ended.is_set():
        with suppress(ProcessLookupError):  # they have already ended
            os.killpg(transport.get_pid(), signal.SIGKILL)
    transport.close()
    await watch.ended.wait()
