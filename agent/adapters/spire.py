"""Reads the SPIFFE Workload API, as this process's own user.

One SVID that cannot be read hides no other, and each failure keeps gRPC's code and the server's own words.
Nothing is tried again here: the caller does, and says why.

Of each SVID only its description is kept.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from agent.adapters import grpc_client, workload_api
from agent.adapters.grpc_client import Code, Failed
from agent.adapters.workload_api import answers
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
        async with aclosing(_answers(self._path)) as found:
            yield await self._first(found)
            async for svids in found:
                yield svids
        raise Trouble(Reason.WORKLOAD_API_FAILED, "the stream has ended")

    async def _first(self, found: AsyncIterator[Sequence[Svid]]) -> Sequence[Svid]:
        try:
            async with asyncio.timeout(self._within):
                return await anext(found)
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
        async with aclosing(call) as messages:
            async for message in messages:
                yield answers.read(message)
    except ValueError as error:
        raise Trouble(Reason.WORKLOAD_API_FAILED, str(error)) from None
    except Failed as error:
        raise Trouble(_CODES.get(error.code, Reason.WORKLOAD_API_FAILED), str(error)) from None
    except (FileNotFoundError, NotADirectoryError):
        raise Trouble(Reason.WORKLOAD_API_ABSENT, f"{path} does not exist") from None
    except OSError as error:
        detail = f"cannot connect to {path}: {error.strerror or error}"
        raise Trouble(Reason.WORKLOAD_API_REFUSED, detail) from None
