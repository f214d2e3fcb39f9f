"""The TCP sockets that listen, by NETLINK_SOCK_DIAG: the question, and the kernel's answer.

The kernel walks its listeners alone. For /proc/net/tcp it walks its table of all connections too, most of which is
empty: 7 ms and more on a host without any.
"""

import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final

from agent.core import netlink
from agent.core.addresses import plain
from agent.core.procfs import Listener

IPV4, IPV6 = 2, 10  # AF_INET, AF_INET6
_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
_TCP: Final = 6
_LISTEN: Final = 1 << 10
_WANTED: Final = struct.Struct("=BBBBI48x")  # struct inet_diag_req_v2: family, protocol, -, -, states, a socket
_FAMILY, _PORT, _ADDRESS = 0, slice(4, 6), 8  # in struct inet_diag_msg
_OWNER: Final = struct.Struct("=II")  # uid, inode: its last two
_OWNER_AT: Final = 64
_SIZES: Final = {IPV4: 4, IPV6: 16}


def request(family: int) -> bytes:
    wanted = _WANTED.pack(family, _TCP, 0, 0, _LISTEN)
    return netlink.message(_BY_FAMILY, netlink.REQUEST | netlink.DUMP, wanted)


def listeners(messages: Iterable[tuple[int, bytes]]) -> Iterator[Listener]:
    """What is too short to be one is left out."""
    for kind, body in messages:
        if kind == _BY_FAMILY and len(body) >= _OWNER_AT + _OWNER.size and body[_FAMILY] in _SIZES:
            yield _listener(body)


def _listener(body: bytes) -> Listener:
    address = body[_ADDRESS : _ADDRESS + _SIZES[body[_FAMILY]]]
    uid, inode = _OWNER.unpack_from(body, _OWNER_AT)
    place = str(plain(ip_address(address))), int.from_bytes(body[_PORT], "big")
    return Listener(place, uid, str(inode))
