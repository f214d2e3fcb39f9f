"""An application that speaks HTTP/2 alone, without TLS. python -m agent.sandbox.stage.http2_app ADDRESS:PORT …

A request for /held is answered once somebody asks for /release; every other one at once.
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

from agent.host import serving
from agent.sandbox.stage.app import listener

ANSWER = b"hello from the application"


class _Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._spoken = H2Connection(H2Configuration(client_side=False))

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
            _HELD.difference_update([one for one in _HELD if one[0] is self])
            self._writer.close()

    def _take(self, event: object) -> None:
        match event:
            case RequestReceived(stream_id=int(stream), headers=headers):
                match dict(headers)[b":path"]:
                    case b"/held":
                        _HELD.add((self, stream))
                    case b"/release":
                        release()
                        self.answer(stream)
                    case _:
                        self.answer(stream)
            case StreamReset(stream_id=int(stream)):
                _HELD.discard((self, stream))

    def answer(self, stream: int) -> None:
        self._spoken.send_headers(stream, [(":status", "200")])
        self._spoken.send_data(stream, ANSWER, end_stream=True)
        self._send()

    def _send(self) -> None:
        self._writer.write(self._spoken.data_to_send())


_HELD: set[tuple[_Client, int]] = set()  # requests without an answer, by connection and stream


def release() -> None:
    while _HELD:
        client, stream = _HELD.pop()
        client.answer(stream)


async def _serve(listen: Sequence[tuple[str, int]]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Client(reader, writer).serve()

    servers = [await asyncio.start_server(accepted, address, port) for address, port in listen]
    await stop.wait()
    for server in servers:
        await serving.close(server)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("listen", nargs="+", type=listener, metavar="ADDRESS:PORT")
    asyncio.run(_serve(parser.parse_args().listen))
