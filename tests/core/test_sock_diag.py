"""What NETLINK_SOCK_DIAG says of listeners, as this parser builds and reads it."""

import struct
from ipaddress import ip_address

import pytest

from agent.core import netlink, sock_diag
from agent.core.procfs import Listener


def said(address: str, port: int, uid: int, inode: int) -> bytes:
    """struct inet_diag_msg."""
    raw = ip_address(address).packed
    family = sock_diag.IPV4 if len(raw) == 4 else sock_diag.IPV6
    ends = struct.pack(">HH16s16s", port, 0, raw, b"")
    return struct.pack("=BBBB", family, 10, 0, 0) + ends + struct.pack("=IIIIIIII", 0, 1, 0, 0, 0, 128, uid, inode)


def found(*datagrams: bytes) -> list[Listener]:
    return [one for each in datagrams for one in sock_diag.listeners(netlink.messages(each))]


def message(body: bytes, kind: int = 20) -> bytes:
    return netlink.message(kind, 0, body)


def test_the_question_is_for_tcp_sockets_that_listen() -> None:
    asked = sock_diag.request(sock_diag.IPV6)
    assert netlink.HEADER.unpack_from(asked) == (72, 20, 0x301, 0, 0)
    assert asked[16:24] == bytes([10, 6, 0, 0]) + struct.pack("=I", 1 << 10)
    assert asked[24:] == bytes(48)  # any address, any port


def test_listeners_of_both_families() -> None:
    given = [
        ("127.0.0.1", 4140, 2102, 7, "127.0.0.1"),
        ("0.0.0.0", 4143, 2102, 8, "0.0.0.0"),
        ("::", 4143, 0, 9, "::"),
        ("2001:db8::7", 80, 1000, 4294967295, "2001:db8::7"),
        ("::ffff:192.0.2.10", 81, 1000, 11, "192.0.2.10"),
    ]
    datagram = b"".join(message(said(*one[:4])) for one in given)
    assert found(datagram) == [Listener((one[4], one[1]), one[2], str(one[3])) for one in given]


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\0" * 16, message(b""), message(said("::1", 1, 0, 1)[:71]), message(b"\x01" + bytes(71))],
    ids=["nothing", "no length", "empty", "short", "another family"],
)
def test_what_is_not_understood_is_left_out(datagram: bytes) -> None:
    assert found(datagram) == []


@pytest.mark.parametrize(
    ("kind", "body", "number"),
    [
        (netlink.ERROR, struct.pack("=i", -2), 2),
        (netlink.DONE, struct.pack("=i", -12), 12),
        (netlink.DONE, struct.pack("=i", 0), 0),
        (netlink.DONE, b"", 0),
        (20, struct.pack("=i", -2), 0),
    ],
    ids=["refused", "failed midway", "complete", "complete and bare", "an answer"],
)
def test_how_an_answer_ends(kind: int, body: bytes, number: int) -> None:
    assert netlink.error_number(kind, body) == number
