"""The state of one call, without I/O: bytes of the server in, messages out."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings

from agent.adapters.grpc_client import status
from agent.adapters.grpc_client.status import Code, Failed

Headers = Sequence[tuple[str, str]]

_MOST_HEADERS: Final = 64 * 1024
_MOST_WORDS: Final = 1000  # characters of what a server says of a failure
_PREFIX: Final = 5  # bytes before each message: whether it is compressed, and its length


class Call:
    def __init__(self, method: str, request: bytes, headers: Headers, most: int) -> None:
        """`most`: bytes of one message of the answer."""
        self._most, self._rest = most, bytearray()
        self._headers: dict[str, str] = {}
        self.ended = False
        self._connection = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        limits = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: _MOST_HEADERS}
        self._connection.local_settings = Settings(client=True, initial_values=limits)
        self._connection.initiate_connection()
        self._stream = self._connection.get_next_available_stream_id()
        self._connection.send_headers(self._stream, _request_headers(method, headers))
        message = b"\x00" + len(request).to_bytes(4, "big") + request
        self._connection.send_data(self._stream, message, end_stream=True)

    def to_send(self) -> bytes:
        return self._connection.data_to_send()

    def close(self) -> None:
        self._connection.close_connection()

    def received(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now; `data`: b"" at the end of the connection. Raises Failed."""
        if not data:
            raise Failed(Code.UNAVAILABLE, "the server closed the connection")
        try:
            events = self._connection.receive_data(data)
        except H2Error as error:
            raise Failed(Code.UNAVAILABLE, f"the answer is not HTTP/2: {error}") from None
        for event in events:
            if not self.ended:
                yield from self._messages_of(event)

    def _messages_of(self, event: Event) -> Iterator[bytes]:
        match event:
            case ResponseReceived():
                self._headers = _texts(event.headers)
                self._check_answer()
            case DataReceived():
                self._rest += event.data
                with suppress(ProtocolError):  # after a GOAWAY nothing can be sent, and no more will come
                    self._connection.acknowledge_received_data(event.flow_controlled_length, self._stream)
                yield from self._messages()
            case TrailersReceived():
                self._headers |= _texts(event.headers)
            case StreamEnded():
                self._check_end()
                self.ended = True
            case StreamReset(error_code=code):
                raise Failed(status.of_reset(code), f"the server reset the call: {status.name(code)}")
            case ConnectionTerminated(error_code=code):  # h2 takes no frame after it
                raise Failed(Code.UNAVAILABLE, f"the server ends the connection: {status.name(code)}")

    def _messages(self) -> Iterator[bytes]:
        while len(self._rest) >= _PREFIX:
            compressed, size = self._rest[0], int.from_bytes(self._rest[1:_PREFIX], "big")
            if compressed:
                raise Failed(Code.INTERNAL, "a message is compressed, which was not offered")
            if size > self._most:
                raise Failed(Code.RESOURCE_EXHAUSTED, f"a message of {size} bytes; at most {self._most} are read")
            if len(self._rest) < _PREFIX + size:
                return
            message = bytes(self._rest[_PREFIX : _PREFIX + size])
            del self._rest[: _PREFIX + size]
            yield message

    def _check_answer(self) -> None:
        http, kind = self._headers.get(":status", ""), self._headers.get("content-type", "")
        if http != "200":
            raise Failed(status.of_http(http), f"the server answers with HTTP status {http}")
        if not kind.startswith("application/grpc"):
            raise Failed(Code.UNKNOWN, f"the answer is no gRPC, but {kind or 'of no type'}")

    def _check_end(self) -> None:
        trailer = self._headers.get("grpc-status")
        if trailer is None:
            raise Failed(Code.INTERNAL, "the answer ended without a status")
        if (code := status.of_trailer(trailer)) is not Code.OK:
            raise Failed(code, unquote(self._headers.get("grpc-message", ""))[:_MOST_WORDS])
        if self._rest:
            raise Failed(Code.INTERNAL, "the answer ended within a message")


def _request_headers(method: str, headers: Headers) -> list[tuple[str, str]]:
    always = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "fairlead",
    }
    return list((always | dict(headers)).items())


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("ascii", "replace"): value.decode("utf-8", "replace") for name, value in headers}
