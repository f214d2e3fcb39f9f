"""TCP segments as bytes: what opens a connection, what ends it, and what an answer says.

Law: pure. No options, no payload: a peer can only answer the first segment.
"""

import struct
from ipaddress import ip_address

from agent.core.late import dataclass
from agent.core.redirect import Address

SYN, RST, ACK = 0x02, 0x04, 0x10
_TCP, _TTL, _WINDOW = 6, 64, 65535
_HEADER = struct.Struct("!HHIIBBHHH")  # ports, sequence, acknowledgement, length, flags, window, checksum, urgent
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_WHOLE = 0x4000  # "don't fragment"


@dataclass(frozen=True)
class Segment:
    """Both addresses are of one IP version."""

    source: Address
    port: int
    destination: Address
    to_port: int
    flags: int
    sequence: int = 0


def packed(segment: Segment) -> bytes:
    """The IP packet."""
    source, destination = segment.source.packed, segment.destination.packed
    ports = segment.port, segment.to_port
    header = _HEADER.pack(*ports, segment.sequence, 0, _HEADER.size // 4 << 4, segment.flags, _WINDOW, 0, 0)
    pseudo = source + destination + struct.pack("!II", len(header), _TCP)
    body = header[:16] + _checksum(pseudo + header) + header[18:]
    if segment.source.version == 6:
        return _IPV6.pack(6 << 28, len(body), _TCP, _TTL, source, destination) + body
    front = _IPV4.pack(0x45, 0, _IPV4.size + len(body), 0, _WHOLE, _TTL, _TCP, 0, source, destination)
    return front[:10] + _checksum(front) + front[12:] + body


def read(packet: bytes) -> Segment | None:
    """None: it is no TCP segment."""
    match packet[0] >> 4 if packet else 0:
        case 4 if len(packet) >= _IPV4.size:
            kind, body = packet[9], packet[(packet[0] & 0xF) * 4 :]
            addresses = packet[12:16], packet[16:20]
        case 6 if len(packet) >= _IPV6.size:
            kind, body = packet[6], packet[_IPV6.size :]
            addresses = packet[8:24], packet[24:40]
        case _:
            return None
    if kind != _TCP or len(body) < _HEADER.size:
        return None
    port, to_port, sequence, _, _, flags, *_ = _HEADER.unpack_from(body)
    return Segment(ip_address(addresses[0]), port, ip_address(addresses[1]), to_port, flags, sequence)


def _checksum(data: bytes) -> bytes:
    """RFC 1071, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
