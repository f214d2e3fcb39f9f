"""gRPC over HTTP/2 without TLS: one call on one connection.

`h2` speaks HTTP/2. Here are the frames of gRPC, which are a length and a message each, and its status. A
connection serves one call: no call waits in the backoff of another, and a call that ends leaves no thread and no
task.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

from agent.adapters.grpc_client.call import Call, Headers
from agent.adapters.grpc_client.status import Code, Failed

if TYPE_CHECKING:
    import asyncio  # the start program of the proxy makes one call, and does without a loop

__all__ = ["MOST", "Code", "Dial", "Failed", "Headers", "stream", "unary"]

Dial: TypeAlias = "Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]"

MOST = 4 * 1024 * 1024  # bytes of one message, as in other clients of gRPC


async def unary(dial: Dial, method: str, request: bytes, headers: Headers = (), most: int = MOST) -> bytes:
    """The one message of the answer, once the call has ended with OK. Raises Failed, and OSError of `dial`."""
    answer = None
    async with aclosing(stream(dial, method, request, headers, most)) as messages:
        async for message in messages:
            if answer is not None:
                raise Failed(Code.INTERNAL, "the answer has more than one message")
            answer = message
    if answer is None:
        raise Failed(Code.INTERNAL, "the answer has no message")
    return answer


async def stream(
    dial: Dial, method: str, request: bytes, headers: Headers = (), most: int = MOST
) -> AsyncGenerator[bytes, None]:
    """Each message of the answer, until the call ends with OK. `headers`: beside those of every call; `:authority`
    may be one. `most`: bytes of one message. Raises Failed, and OSError of `dial`."""
    reader, writer = await dial()
    try:
        call = Call(method, request, headers, most)
        while not call.ended:
            await _send(call, writer)
            for message in call.received(await _read(reader)):
                yield message
        call.close()
        writer.write(call.to_send())
    finally:
        writer.transport.abort()  # a server that does not read must not hold up the caller


async def _send(call: Call, writer: "asyncio.StreamWriter") -> None:
    try:
        writer.write(call.to_send())
        await writer.drain()
    except OSError as error:
        raise _broken(error) from None


async def _read(reader: "asyncio.StreamReader") -> bytes:
    try:
        return await reader.read(1 << 16)
    except OSError as error:
        raise _broken(error) from None


def _broken(error: OSError) -> Failed:
    return Failed(Code.UNAVAILABLE, f"the connection broke: {error.strerror or error}")
