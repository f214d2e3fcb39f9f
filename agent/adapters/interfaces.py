"""The addresses of this host's interfaces, asked of the kernel by rtnetlink; no program is started.

An address counts as this host's if an interface has it, or if the kernel delivers to it locally without (a local
route, "AnyIP"). One that IPv6 has not yet found to be unique accepts no connection and does not count.
"""

import asyncio
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing

from agent.adapters import netlink
from agent.core import netlink as messages
from agent.core.addresses import Address, address, plain
from agent.core.reasons import Reason
from agent.host import loopback
from agent.ports import Trouble

_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths (2), tos, table, protocol, scope, type, flags
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_NEW_ADDRESS, _GET_ADDRESS, _NEW_ROUTE, _GET_ROUTE = 20, 22, 24, 26
_ANY, _LOCAL, _FLAGS = 1, 2, 8  # IFA_ADDRESS (of a peer, where there is one), IFA_LOCAL, IFA_FLAGS
_OPTIMISTIC, _FAILED, _TENTATIVE = 0x4, 0x8, 0x40
_DESTINATION, _LOCAL_ROUTE = 1, 2  # RTA_DST, RTN_LOCAL
# No route at all, and those that lead nowhere; a kernel without that IP version.
_NO_ROUTE = {
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EACCES,
    errno.EINVAL,
    errno.EOPNOTSUPP,
    errno.EAFNOSUPPORT,
}
_GROUPS = 0x10 | 0x100  # addresses of IPv4 and of IPv6
_WITHIN = 1.0  # seconds; the kernel answers while it is asked


class HostInterfaces:
    """Implements ports.Interfaces, for the network namespace in which its methods are called."""

    def __init__(self) -> None:
        self._notices: socket.socket | None = None

    async def absent(self, addresses: Sequence[str]) -> tuple[str, ...]:
        return absent(addresses)

    async def changed(self) -> None:
        """The first call opens the watch and returns: before it anything may have happened."""
        try:
            if self._notices is None:
                self._notices = _socket(_GROUPS)
                self._notices.setblocking(False)
                return
            await asyncio.get_running_loop().sock_recv(self._notices, netlink.MOST)
            netlink.drain(self._notices)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # so many changes that some were not told
                self.close()
                raise _trouble(error) from None

    def close(self) -> None:
        if self._notices is not None:
            self._notices.close()
            self._notices = None


def absent(addresses: Sequence[str]) -> tuple[str, ...]:
    """Those of `addresses` that this host does not have. Raises Trouble (ADDRESSES_UNREADABLE, LOOPBACK_DOWN)."""
    try:
        if not loopback.is_up():
            raise Trouble(Reason.LOOPBACK_DOWN, loopback.DOWN)
        with closing(_socket()) as kernel:
            kernel.settimeout(_WITHIN)
            here = set(_addresses(kernel))
            return tuple(one for one in addresses if address(one) not in here and not _local(kernel, one))
    except OSError as error:
        raise _trouble(error) from None


def addresses() -> tuple[Address, ...]:
    """Of every interface. Raises Trouble (ADDRESSES_UNREADABLE)."""
    try:
        with closing(_socket()) as kernel:
            kernel.settimeout(_WITHIN)
            return tuple(_addresses(kernel))
    except OSError as error:
        raise _trouble(error) from None


def _socket(groups: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        made.bind((0, groups))
    except OSError:
        made.close()
        raise
    return made


def _trouble(error: OSError) -> Trouble:
    return Trouble(Reason.ADDRESSES_UNREADABLE, f"cannot ask the kernel: {error.strerror or error}")


def _addresses(kernel: socket.socket) -> Iterator[Address]:
    for kind, body in _asked(
        kernel, _GET_ADDRESS, messages.REQUEST | messages.DUMP, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    ):
        if kind == _NEW_ADDRESS and (address := of_message(body)) is not None:
            yield address


def of_message(body: bytes) -> Address | None:
    """The address of one RTM_NEWADDR; None: it accepts no connection."""
    family, _, short, _, _ = _ADDRESS.unpack_from(body)
    attributes = dict(_attributes(body[_ADDRESS.size :]))
    flags = int.from_bytes(attributes[_FLAGS], sys.byteorder) if _FLAGS in attributes else short
    raw = attributes.get(_LOCAL) or attributes.get(_ANY)
    waits = flags & _TENTATIVE and not flags & _OPTIMISTIC
    if raw is None or waits or flags & _FAILED or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return plain(address(socket.inet_ntop(family, raw)))


def _local(kernel: socket.socket, text: str) -> bool:
    """The kernel would deliver to it here, whatever interface has it."""
    one = address(text)
    family = socket.AF_INET if one.version == 4 else socket.AF_INET6
    to = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(one.packed), _DESTINATION) + one.packed
    route = _ROUTE.pack(family, one.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    try:
        answers = list(_asked(kernel, _GET_ROUTE, messages.REQUEST, route + to))
    except OSError as error:
        if error.errno in _NO_ROUTE:
            return False
        raise
    return any(kind == _NEW_ROUTE and _ROUTE.unpack_from(body)[7] == _LOCAL_ROUTE for kind, body in answers)


def _asked(kernel: socket.socket, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message of the answer. Raises OSError: that with which the kernel answers."""
    kernel.send(messages.message(kind, flags, body))
    while True:
        for answer, content in messages.messages(kernel.recv(netlink.MOST)):
            if number := messages.error_number(answer, content):
                raise OSError(number, os.strerror(number))
            if answer in (messages.ERROR, messages.DONE):
                return
            yield answer, content
            if not flags & messages.DUMP:
                return


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += max((length + 3) & ~3, _ATTRIBUTE.size)
