"""The listeners of a network namespace: NETLINK_SOCK_DIAG on this kernel says what /proc/net/tcp says."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from agent.core.procfs import Listener
from agent.host import listeners
from tests.lab.netns import Namespace, namespace

PLACES = [("127.0.0.1", 4140), ("0.0.0.0", 4143), ("::1", 4140), ("::", 4144), ("::ffff:127.0.0.1", 81)]
STRANGER = 1234
MANY = 600  # more than one datagram of answers


@pytest.fixture
def space(root: None) -> Iterator[Namespace]:
    with namespace() as made:
        yield made


def opened(space: Namespace, address: str, port: int, uid: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address.startswith("::ffff:")
    return space.inside(lambda: socket.create_server((address, port), family=family, dualstack_ipv6=both), uid)


def test_both_say_the_same(space: Namespace) -> None:
    with contextlib.ExitStack() as stack:
        for address, port in PLACES:
            stack.enter_context(opened(space, address, port))
        stack.enter_context(opened(space, "127.0.0.1", 5000, STRANGER))
        stack.enter_context(space.inside(lambda: socket.create_connection(("127.0.0.1", 5000))))
        by_netlink, by_proc = space.inside(listeners.asked), space.inside(listeners.of_proc)
    assert {one.place for one in by_netlink if one.uid == 0} == {*PLACES[:4], ("127.0.0.1", 81)}
    assert [one.place for one in by_netlink if one.uid == STRANGER] == [("127.0.0.1", 5000)]
    assert sorted(by_netlink, key=_inode) == sorted(by_proc, key=_inode)


def test_an_answer_of_many_datagrams(space: Namespace) -> None:
    with contextlib.ExitStack() as stack:
        for made in space.inside(lambda: [socket.create_server(("127.0.0.1", 20000 + n)) for n in range(MANY)]):
            stack.enter_context(made)
        found = space.inside(listeners.asked)
    assert sorted(one.place[1] for one in found) == [20000 + n for n in range(MANY)]


def test_without_listeners_there_are_none(space: Namespace) -> None:
    assert space.inside(listeners.asked) == []


def test_a_kernel_that_does_not_know_the_question_leaves_proc(
    space: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_SOCK_DIAG", 31)  # no family of netlink
    with opened(space, "127.0.0.1", 4140, STRANGER):
        with pytest.raises(OSError):
            space.inside(listeners.asked)
        assert [(one.place, one.uid) for one in space.inside(listeners.listening)] == [
            (("127.0.0.1", 4140), STRANGER)
        ]


def _inode(one: Listener) -> int:
    return int(one.inode)
