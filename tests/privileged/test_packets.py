"""The self-test by packets, with a wire whose answers are given: what is evidence, and what is not."""

import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address

import pytest

from agent.core.facts import Level
from agent.core.redirect import Exceptions, Inbound, RedirectSpec, tcp_segments
from agent.privileged.redirect import tun
from agent.privileged.redirect.packets import Packets
from agent.privileged.redirect.tun import Answer, Place, Wire
from agent.privileged.system import listeners

HERE = ip_address("10.9.0.2")
SPEC = RedirectSpec(proxy_uid=7, addresses=(HERE,), ports=frozenset({8080}))
SSH = frozenset({22, 2222})


class Given(Wire):
    """`answers`: by port. `dialled`: the ports of each time."""

    def __init__(self, **answers: Answer) -> None:
        super().__init__(-1, {})
        self.answers = {int(port.removeprefix("p")): answer for port, answer in answers.items()}
        self.dialled: list[list[int]] = []

    def dial(self, places: Iterable[Place]) -> Mapping[Place, Answer]:
        asked = list(places)
        self.dialled.append([port for _, port in asked])
        return {place: self.answers[place[1]] for place in asked if place[1] in self.answers}


def listening(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    monkeypatch.setattr(listeners, "accepting", lambda address, uid: frozenset(ports) if uid == 0 else frozenset())


PROXY, ITSELF = Answer(True, 4143, SPEC.proxy_uid), Answer(True, 8080, 1000)


@pytest.mark.parametrize(
    ("level", "answer", "problem"),
    [
        (Level.ON, PROXY, ""),
        (Level.ON, ITSELF, "arrives at port 8080, not at the proxy's 4143"),
        (Level.ON, Answer(False), ""),
        (Level.BLOCK, Answer(False), ""),
        (Level.BLOCK, ITSELF, "arrives at port 8080, but must be blocked"),
        (Level.BLOCK, PROXY, "arrives at port 4143, but must be blocked"),
        (Level.RELEASED, ITSELF, ""),
    ],
)
def test_a_declared_port(monkeypatch: pytest.MonkeyPatch, level: Level, answer: Answer, problem: str) -> None:
    listening(monkeypatch)
    given = Packets(SPEC, SSH, Given(p8080=answer)).findings(level)
    found = (*given.harms, *given.misses)
    assert len(found) == bool(problem) and all(problem in one for one in found)
    assert given.stranger is None


def test_another_users_socket_in_the_proxys_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    listening(monkeypatch)
    given = Packets(SPEC, SSH, Given(p8080=Answer(True, 4143, 1000))).findings(Level.ON)
    assert (given.harms, given.misses, given.stranger) == ((), (), 1000)


def test_what_was_accepted_and_is_reset_is_harm_as_long_as_somebody_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = Given(p22=Answer(True, 22))
    listening(monkeypatch, 22)
    packets = Packets(SPEC, SSH, line)
    line.answers[22] = Answer(False)
    assert packets.findings(Level.ON).harms == (
        "a connection to SSH on 10.9.0.2 port 22 is reset, and was accepted before",
    )
    listening(monkeypatch)  # it has ended
    assert packets.findings(Level.ON).harms == ()


def test_where_every_port_is_redirected_those_of_sshd_and_the_excepted_must_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listening(monkeypatch, 22, 2222, 80, 9100)
    spec = replace(SPEC, inbound=Inbound.ALL, inbound_except=Exceptions(ports=frozenset({9100})))
    line = Given()
    Packets(spec, SSH, line)
    assert line.dialled == [[22, 2222, 9100]]


def test_who_is_silent_is_asked_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tun, "PATIENCE", 0.02)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        far.setblocking(False)
        near.setblocking(False)
        assert Wire(near.fileno(), {4: ip_address("192.0.2.1")}).dial([(HERE, 8080)]) == {}
        sent = [tcp_segments.read(far.recv(1 << 16)) for _ in range(2)]
        assert sent[0] == sent[1] and sent[0] is not None and sent[0].flags == tcp_segments.SYN
        with pytest.raises(BlockingIOError):
            far.recv(1)
