"""Reads the SPIFFE Workload API, as this process's own user.

One SVID that cannot be read hides no other, and each failure keeps gRPC's code and the server's own words.
Nothing is tried again here: the caller does, and says why.

Of each SVID only its description is kept.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from agent.adapters import grpc_client, workload_api
from agent.adapters.grpc_client import Code, Failed
from agent.adapters.workload_api import messages, x509_svid
from agent.core.facts import Svid
from agent.core.reasons import Reason
from agent.ports import Trouble

FIRST_ANSWER_WITHIN = 4.0

# Linkerd's proxy stops asking after INVALID_ARGUMENT, as the standard requires (docs/linkerd.md §1.6), so this
# failure has a separate reason.
_CODES = {
    Code.PERMISSION_DENIED: Reason.WORKLOAD_API_DENIED,
    Code.INVALID_ARGUMENT: Reason.WORKLOAD_API_INVALID,
}


class SpireWorkloadApi:
    """Implements ports.WorkloadApi. `path`: of the unix socket. `within`: seconds for the first answer."""

    def __init__(self, path: str, within: float = FIRST_ANSWER_WITHIN) -> None:
        self._path, self._within = path, within

    async def watch(self) -> AsyncGenerator[Sequence[Svid], None]:
        async with aclosing(_answers(self._path)) as answers:
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


async def _answers(path: str) -> AsyncGenerator[Sequence[Svid], None]:
    dial = workload_api.at(path)
    call = grpc_client.stream(dial, workload_api.FETCH_X509, b"", workload_api.HEADERS)
    try:
        async with aclosing(call) as answers:
            async for answer in answers:
                yield _read(answer)
    except Failed as error:
        raise Trouble(_CODES.get(error.code, Reason.WORKLOAD_API_FAILED), str(error)) from None
    except (FileNotFoundError, NotADirectoryError):
        raise Trouble(Reason.WORKLOAD_API_ABSENT, f"{path} does not exist") from None
    except OSError as error:
        detail = f"cannot connect to {path}: {error.strerror or error}"
        raise Trouble(Reason.WORKLOAD_API_REFUSED, detail) from None


def _read(answer: bytes) -> Sequence[Svid]:
    try:
        svids = messages.x509_svids(answer)
    except ValueError as error:
        raise Trouble(Reason.WORKLOAD_API_FAILED, f"an answer that cannot be read: {error}") from None
    if not svids:
        raise Trouble(Reason.WORKLOAD_API_FAILED, "an answer without any SVID")
    return [_describe(svid) for svid in svids]


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
