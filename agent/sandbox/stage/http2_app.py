"""An application that speaks HTTP/2 alone, without TLS. python -m agent.sandbox.stage.http2_app ADDRESS:PORT …

A request for /slow?seconds=N is answered after so long; every other one at once.
"""

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Sequence

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamReset
from h2.exceptions import ProtocolError

from agent.sandbox.stage.app import SLOWEST, listener

ANSWER = b"hello from the application"


class _Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._spoken = H2Connection(H2Configuration(client_side=False))
        self._slow: dict[int, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """It says nothing before the client does, whom a proxy then knows."""
        self._spoken.initiate_connection()
        try:
            with contextlib.suppress(ConnectionError, ProtocolError):
                while data := await self._reader.read(1 << 16):
                    for event in self._spoken.receive_data(data):
                        self._take(event)
                    self._send()
        finally:
            for task in self._slow.values():
                task.cancel()
            self._writer.close()

    def _take(self, event: object) -> None:
        match event:
            case RequestReceived(stream_id=int(stream), headers=headers):
                path, _, query = dict(headers)[b":path"].decode().partition("?seconds=")
                seconds = min(float(query or "1"), SLOWEST) if path == "/slow" else 0.0
                if seconds:
                    self._slow[stream] = asyncio.create_task(self._later(stream, seconds))
                else:
                    self._answer(stream)
            case StreamReset(stream_id=int(stream)) if stream in self._slow:
                self._slow.pop(stream).cancel()

    async def _later(self, stream: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._answer(stream)
        self._send()

    def _answer(self, stream: int) -> None:
        self._spoken.send_headers(stream, [(":status", "200")])
        self._spoken.send_data(stream, ANSWER, end_stream=True)

    def _send(self) -> None:
        self._writer.write(self._spoken.data_to_send())


async def _serve(listen: Sequence[tuple[str, int]]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Client(reader, writer).serve()

    servers = [await asyncio.start_server(accepted, address, port) for address, port in listen]
    await stop.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("listen", nargs="+", type=listener, metavar="ADDRESS:PORT")
    asyncio.run(_serve(parser.parse_args().listen))
