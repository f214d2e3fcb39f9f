"""Reads the SPIFFE Workload API, as this process's own user.

One SVID that cannot be read hides no other, and each failure keeps gRPC's code and the server's own words.
Nothing is tried again here: the caller does, and says why.

Of each SVID only its description is kept.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Final

import grpc

from agent.adapters.workload_api import messages, x509_svid
from agent.core.facts import Svid
from agent.core.reasons import Reason
from agent.ports import Trouble

FIRST_ANSWER_WITHIN = 4.0

_METHOD: Final = "/SpiffeWorkloadAPI/FetchX509SVID"
_HEADER: Final = (("workload.spiffe.io", "true"),)  # SPIFFE Workload API standard, §4: against request forgery
# Else this channel would wait in the backoff of any other to the same path that has failed.
_OWN: Final = (("grpc.use_local_subchannel_pool", 1),)
# Linkerd's proxy stops asking after INVALID_ARGUMENT, as the standard requires (docs/linkerd.md §1.6), so this
# failure has a separate reason.
_CODES = {
    grpc.StatusCode.PERMISSION_DENIED: Reason.WORKLOAD_API_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT: Reason.WORKLOAD_API_INVALID,
}


class SpireWorkloadApi:
    """Implements ports.WorkloadApi. `path`: of the unix socket. `within`: seconds for the first answer."""

    def __init__(self, path: str, within: float = FIRST_ANSWER_WITHIN) -> None:
        self._path, self._within = path, within

    async def watch(self) -> AsyncGenerator[Sequence[Svid], None]:
        await _knock(self._path)
        async with (
            grpc.aio.insecure_channel(f"unix:{self._path}", options=_OWN) as channel,
            aclosing(_answers(channel)) as answers,
        ):
            yield await self._first(answers)
            async for svids in answers:
                yield svids
        raise Trouble(Reason.WORKLOAD_API_FAILED, "the stream has ended")

    async def _first(self, answers: AsyncIterator[Sequence[Svid]]) -> Sequence[Svid]:
        try:
            async with asyncio.timeout(self._within):
                return await anext(answers)
        except TimeoutError:
            raise Trouble(Reason.WORKLOAD_API_SILENT, f"no answer within {self._within:g} s") from None
        except StopAsyncIteration:
            raise Trouble(Reason.WORKLOAD_API_FAILED, "the stream ended without an answer") from None


async def fetch_once(path: str, within: float = FIRST_ANSWER_WITHIN) -> Sequence[Svid]:
    """The SVIDs of this moment. Raises Trouble (WORKLOAD_API_*)."""
    async with aclosing(SpireWorkloadApi(path, within).watch()) as updates:
        return await anext(updates)


async def _knock(path: str) -> None:
    """Connect once and hang up: the kernel says exactly what is wrong, where gRPC says UNAVAILABLE."""
    with socket.socket(socket.AF_UNIX) as knocking:
        knocking.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(knocking, path)
        except (FileNotFoundError, NotADirectoryError):
            raise Trouble(Reason.WORKLOAD_API_ABSENT, f"{path} does not exist") from None
        except OSError as error:
            raise Trouble(
                Reason.WORKLOAD_API_REFUSED, f"cannot connect to {path}: {error.strerror or error}"
            ) from None


async def _answers(channel: grpc.aio.Channel) -> AsyncGenerator[Sequence[Svid], None]:
    # In bytes: an answer that gRPC's own decoding fails at it would hand over as None.
    ask: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(_METHOD)
    call = ask(b"", metadata=_HEADER)
    try:
        async for answer in call:
            yield _read(answer)
    except grpc.aio.AioRpcError as error:
        raise _trouble(error) from None
    finally:
        call.cancel()


def _read(answer: bytes) -> Sequence[Svid]:
    try:
        svids = messages.x509_svids(answer)
    except ValueError as error:
        raise Trouble(Reason.WORKLOAD_API_FAILED, f"an answer that cannot be read: {error}") from None
    if not svids:
        raise Trouble(Reason.WORKLOAD_API_FAILED, "an answer without any SVID")
    return [_describe(svid) for svid in svids]


def _trouble(error: grpc.aio.AioRpcError) -> Trouble:
    said = f"{error.code().name}: {error.details()}"
    return Trouble(_CODES.get(error.code(), Reason.WORKLOAD_API_FAILED), said)


def _describe(svid: Any) -> Svid:
    """One that cannot be read is described as such: it hides no other, and what it says of itself stays."""
    try:
        found = x509_svid.describe(svid.x509_svid, svid.x509_svid_key)
    except x509_svid.Malformed as error:
        return Svid(svid.spiffe_id, "", 0.0, 0.0, svid.hint, f"cannot read it: {error}")
    return Svid(
        found.spiffe_id,
        found.key_type,
        found.not_before,
        found.not_after,
        svid.hint,
        _flaw(found, svid.spiffe_id),
        found.chain,
        x509_svid.authorities(svid.bundle),
    )


def _flaw(found: x509_svid.Described, claimed: str) -> str:
    if not found.key_fits:
        return "its key does not belong to its certificate"
    return "" if claimed == found.spiffe_id else f"its certificate is for {found.spiffe_id}"
