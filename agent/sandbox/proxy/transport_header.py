"""The transport header: how a meshed peer names an opaque port of a host when it dials the proxy's inbound port.

It follows the TLS handshake, under its own ALPN: a preface, a length, and a message whose field 1 is the port.
"""

import asyncio

ALPN = "transport.l5d.io/v1"
_PREFACE = ALPN.encode() + b"\r\n\r\n"
_PORT = b"\x08"  # field 1, a varint
_LARGEST = 1024  # bytes of a message


class Malformed(Exception):
    """The bytes are not a transport header."""


def encode(port: int) -> bytes:
    message = _PORT + bytes([port & 0x7F | 0x80, port >> 7 & 0x7F | 0x80, port >> 14])
    return _PREFACE + len(message).to_bytes(4) + message


async def read(reader: asyncio.StreamReader) -> int:
    """The port. Raises Malformed, EOFError."""
    head = await reader.readexactly(len(_PREFACE) + 4)
    size = int.from_bytes(head[len(_PREFACE) :])
    if not head.startswith(_PREFACE) or size > _LARGEST:
        raise Malformed("no transport header")
    message = await reader.readexactly(size)
    if not message.startswith(_PORT):
        raise Malformed("a transport header without a port")
    return varint(message[1:])[0]


def varint(data: bytes) -> tuple[int, bytes]:
    """A number of a protobuf message, and what follows it. Raises Malformed."""
    number = 0
    for place, byte in enumerate(data):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, data[place + 1 :]
    raise Malformed("a number without an end")
