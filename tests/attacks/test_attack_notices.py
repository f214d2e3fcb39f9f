"""The attacker is the agent's user. It makes the socket on which the kernel reports changes of rules the standard
output of a program of root (a setuid one, run by an accomplice), and chooses the program's text.

What must hold: the kernel takes no change of rules from this socket, also from a program of root.
"""

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.netns import Namespace
from tests.lab.reachable import reachable
from tests.privileged.hosts import Host
from tests.privileged.sockets import AGENT, helper_socket, with_user

# Asks for the watch, and hands the socket over to the accomplice (standard input). A socket that comes with the
# answer is as good to it as one that it opened.
_ATTACKER = """
import socket, sys
notices = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
notices.bind((0, 0))
with socket.socket(socket.AF_UNIX) as helper:
    helper.connect(sys.argv[1])
    socket.send_fds(helper, [b'{"verb": "redirect watch"}\\n'], [notices.fileno()])
    answer, passed, _, _ = socket.recv_fds(helper, 65536, 1)
with socket.socket(fileno=0) as accomplice:
    socket.send_fds(accomplice, [answer], passed or [notices.fileno()])
"""
_BATCH_BEGIN, _BATCH_END, _NEW_TABLE = 0x10, 0x11, 0x0A00
_INET, _NFTABLES = 1, 10


def _message(kind: int, family: int, resource: int, attributes: bytes = b"") -> bytes:
    """One message of nfnetlink (a request; to create what it names)."""
    body = struct.pack(">BBH", family, 0, resource) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, 0x401, 1, 0) + body


def new_table(name: bytes) -> bytes:
    """What `nft add table inet NAME` sends."""
    attribute = struct.pack("=HH", 5 + len(name), 1) + name + b"\0"
    attribute += b"\0" * (-len(attribute) % 4)
    begin, end = (_message(kind, 0, _NFTABLES) for kind in (_BATCH_BEGIN, _BATCH_END))
    return begin + _message(_NEW_TABLE, _INET, 0, attribute) + end


def opened_by_root(space: Namespace) -> socket.socket:
    def opened() -> socket.socket:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)

    return space.inside(opened)


@contextmanager
def passed_on(host: Host) -> Iterator[tuple[bytes, socket.socket]]:
    """The helper's answer, and the socket, in the hands of an accomplice."""
    near, far = socket.socketpair()
    command = host.space.command(
        *("setpriv", f"--reuid={AGENT}", f"--regid={AGENT}", "--clear-groups"),
        *("/usr/bin/python3", "-I", "-c", _ATTACKER),
    )
    with near, far, helper_socket(host, *with_user(host.prefix)) as path:
        subprocess.run([*command, path], stdin=far.fileno(), check=True, timeout=30, cwd="/", env={**os.environ})
        answer, (descriptor,), _, _ = socket.recv_fds(near, 65536, 1)
        with socket.socket(fileno=descriptor) as notices:
            yield answer, notices


@pytest.fixture
def host(host: Host) -> Host:
    reachable(host.prefix)
    return host


def test_attack_the_socket_of_notices_as_the_output_of_a_program_of_root(host: Host) -> None:
    with opened_by_root(host.space) as roots:
        os.write(roots.fileno(), new_table(b"roots"))
    assert "table inet roots" in host.space.run("nft", "list", "tables"), "such a text changes rules"
    with passed_on(host) as (answer, notices):
        assert answer == b'{"ok": true}\n'
        os.write(notices.fileno(), new_table(b"evil"))
        assert "evil" not in host.space.run("nft", "list", "tables")
        notices.settimeout(10)
        host.space.run("nft", "add table inet other")
        told = notices.recv(1 << 16)
        while b"other" not in told:  # first the refusal of what was written
            told = notices.recv(1 << 16)


def test_attack_another_socket_in_place_of_the_one_of_notices(host: Host) -> None:
    """Root adds nothing but a socket of netfilter to that group."""
    with helper_socket(host) as path, socket.socket(socket.AF_UNIX) as helper:
        helper.connect(path)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as routes:  # NETLINK_ROUTE
            socket.send_fds(helper, [b'{"verb": "redirect watch"}\n'], [routes.fileno()])
        assert b"no socket of netfilter" in helper.recv(1 << 16)


def test_attack_the_watch_without_a_socket(host: Host) -> None:
    with helper_socket(host) as path, socket.socket(socket.AF_UNIX) as helper:
        helper.connect(path)
        helper.sendall(b'{"verb": "redirect watch"}\n')
        assert b"no socket came with the request" in helper.recv(1 << 16)
