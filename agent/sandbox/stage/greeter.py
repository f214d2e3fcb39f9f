"""A server that speaks first, as MySQL and SMTP servers do: python -m agent.sandbox.stage.greeter GREETING
ADDRESS:PORT…

The greeting is one line; after it comes the client's address. Then it waits until the client ends.
"""

import asyncio
import signal
import sys
from collections.abc import Sequence
from functools import partial

from agent.sandbox.stage.app import listener


async def _greet(greeting: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    peer = str(writer.get_extra_info("peername")[0])
    try:
        writer.write(greeting + b" " + peer.encode() + b"\n")
        await reader.read()
    except OSError:
        writer.transport.abort()  # the client has closed
    finally:
        writer.close()


async def _serve(greeting: bytes, listen: Sequence[tuple[str, int]]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    for address, port in listen:
        await asyncio.start_server(partial(_greet, greeting), address, port)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1].encode(), [listener(text) for text in sys.argv[2:]]))
