"""Rules that are set and removed repeatedly, by programs that are killed in the middle, under a steady stream of
connections: none is refused that policy does not refuse, none gets by that it does, and what is open goes on."""

import json
import selectors
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from agent.core.facts import Level
from agent.core.redirect import levels
from agent.privileged.redirect import kernel, specification
from tests.privileged.firewalls import force
from tests.privileged.helper_requests import REMOVE, REPOSITORY, apply
from tests.privileged.hosts import (
    APP,
    FAMILIES,
    INBOUND,
    OUTBOUND,
    PROXY_UID,
    Family,
    Host,
    Listeners,
    dial,
)

ROUNDS = {"nftables": 100, "iptables-nft": 50, "iptables-legacy": 50}  # of each policy
NOW = {"verb": "redirect apply", "confirm": "none"}
OPEN = (NOW, apply("released", "released"), apply("on", "on"), REMOVE)
CLOSED = (apply("on", "on"), apply("block", "on"), {"verb": "redirect failed"}, {"verb": "redirect arm"})
KILLED = 4  # each so many-th


# connections ---------------------------------------------------------------------------------------


class Servers(threading.Thread):
    """Sends each client the port that it reached, then echoes."""

    def __init__(self, listeners: list[socket.socket]) -> None:
        super().__init__()
        self._listeners, self._near, self._far = listeners, *socket.socketpair()

    def run(self) -> None:
        with selectors.DefaultSelector() as found, self._far:
            for each in (*self._listeners, self._far):
                found.register(each, selectors.EVENT_READ)
            while not self._serve(found):
                pass
            for key in list(found.get_map().values()):
                if isinstance(key.fileobj, socket.socket) and key.fileobj not in self._listeners:
                    key.fileobj.close()

    def _serve(self, found: selectors.BaseSelector) -> bool:
        for key, _ in found.select():
            assert isinstance(key.fileobj, socket.socket)
            if key.fileobj is self._far:
                return True
            if key.fileobj in self._listeners:
                made, _ = key.fileobj.accept()
                made.sendall(f"{made.getsockname()[1]}\n".encode())
                found.register(made, selectors.EVENT_READ)
            elif said := key.fileobj.recv(99):
                key.fileobj.sendall(said)
            else:
                found.unregister(key.fileobj)
                key.fileobj.close()
        return False

    def end(self) -> None:
        self._near.close()
        self.join()


@contextmanager
def served(host: Host) -> Iterator[None]:
    with Listeners() as ears:
        for family in FAMILIES:
            ears.add(host.space, family.host, APP)
            ears.add(host.space, family.host, INBOUND, uid=PROXY_UID)
            ears.add(host.space, family.loopback, OUTBOUND, uid=PROXY_UID)
            ears.add(host.peer, family.cluster, 80)
        ears.add_admin(host.space)
        servers = Servers(list(ears.sockets))
        servers.start()
        try:
            yield
        finally:
            servers.end()


class Dialler(threading.Thread):
    """One connection after the other, of one IP version in one direction; some of them stay open."""

    def __init__(self, host: Host, family: Family, inbound: bool) -> None:
        super().__init__()
        self._space = host.peer if inbound else host.space
        self._place = (family.host, APP) if inbound else (family.cluster, 80)
        self.inbound, self.stop = inbound, threading.Event()
        self.arrived: Counter[int] = Counter()
        self.failed: list[str] = []
        self.kept: list[socket.socket] = []

    def run(self) -> None:
        while not self.stop.wait(0.02):
            try:
                connection = dial(self._space, *self._place, within=30)
                self.arrived[int(connection.recv(9))] += 1
            except (OSError, ValueError) as error:
                self.failed.append(f"{self._place}: {error}")
                continue
            if sum(self.arrived.values()) % 50 == 1:
                self.kept.append(connection)
            else:
                connection.close()

    def end(self) -> None:
        """What stayed open flows."""
        self.stop.set()
        self.join()
        for connection in self.kept:
            connection.sendall(b"ping\n")
            assert connection.recv(9) == b"ping\n"
            connection.close()


@contextmanager
def dialled(host: Host) -> Iterator[list[Dialler]]:
    made = [Dialler(host, family, inbound) for family in FAMILIES for inbound in (True, False)]
    for each in made:
        each.start()
    try:
        yield made
    finally:
        for each in made:
            each.stop.set()
    for each in made:
        each.end()


# helpers ---------------------------------------------------------------------------------------------

_HELPER = """
import json, sys
from pathlib import Path
from agent.privileged import Refusal
from agent.privileged.helper.request import parse
for line in sys.stdin.buffer:
    try:
        said = parse(line).carry_out(Path(sys.argv[1]))
    except Refusal as refusal:
        said = {"refused": refusal.detail}
    print(json.dumps(said), flush=True)
"""


class Helpers:
    """The privileged helper's verbs in a program that serves many requests, and is started again after a kill."""

    def __init__(self, host: Host) -> None:
        self._command = host.space.command(sys.executable, "-S", "-P", "-c", _HELPER, str(host.prefix))
        self._helper: subprocess.Popen[bytes] | None = None
        self.refused: list[str] = []

    def ask(self, request: dict[str, str]) -> None:
        helper = self._sent(request)
        assert helper.stdout
        said = json.loads(helper.stdout.readline())
        if "refused" in said:
            self.refused.append(said["refused"])

    def kill(self, request: dict[str, str], after: float) -> None:
        """In the middle of it, `after` seconds."""
        helper = self._sent(request)
        threading.Event().wait(after)
        self.end(helper)

    def end(self, helper: "subprocess.Popen[bytes] | None" = None) -> None:
        found = helper or self._helper
        if found is not None:
            found.kill()
            found.communicate()
        self._helper = None

    def _sent(self, request: dict[str, str]) -> "subprocess.Popen[bytes]":
        if self._helper is None:
            pipe, environment = subprocess.PIPE, {"PYTHONPATH": str(REPOSITORY)}
            self._helper = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, env=environment)
        assert self._helper.stdin
        self._helper.stdin.write(json.dumps(request).encode() + b"\n")
        self._helper.stdin.flush()
        return self._helper


def churn(helpers: Helpers, requests: tuple[dict[str, str], ...], rounds: int) -> None:
    for i in range(rounds):
        request = requests[i % len(requests) - i // len(requests) % 2]
        if i % KILLED == KILLED - 1:
            helpers.kill(request, 0.3 * i / rounds)  # from before it has begun to after its end
        else:
            helpers.ask(request)


def test_on_and_off_again_and_again_and_killed(host: Host, backend: str) -> None:
    """Where nothing is closed no connection is refused, wherever a privileged helper was stopped."""
    force(host, backend)
    helpers = Helpers(host)
    with served(host), dialled(host) as diallers:
        try:
            churn(helpers, OPEN, ROUNDS[backend])
            helpers.ask(NOW)
        finally:
            helpers.end()
    assert [dialler.failed for dialler in diallers] == [[], [], [], []]
    for dialler in diallers:
        assert set(dialler.arrived) == ({APP, INBOUND} if dialler.inbound else {80, OUTBOUND})
    assert is_on(host, backend)
    assert not [said for said in helpers.refused if "self-test" in said]


def test_open_and_closed_again_and_again_and_killed(host: Host, backend: str) -> None:
    """And from one closed state to the next no connection bypasses the proxy."""
    force(host, backend)
    host.config.write_text(
        host.config.read_text().replace("[redirect]", '[redirect]\noutbound_failure = "closed"')
    )
    helpers = Helpers(host)
    helpers.ask(apply("block", "on"))
    with served(host), dialled(host) as diallers:
        try:
            churn(helpers, CLOSED, ROUNDS[backend])
            helpers.ask(apply("on", "on"))
        finally:
            helpers.end()
    for dialler in diallers:
        assert set(dialler.arrived) == {INBOUND if dialler.inbound else OUTBOUND}
        assert dialler.failed and all("refused" in failure for failure in dialler.failed)
    assert is_on(host, backend)
    assert not [said for said in helpers.refused if "self-test" in said]


def is_on(host: Host, backend: str) -> bool:
    live = host.space.inside(lambda: kernel.read(backend))
    return levels(specification.spec(host.prefix), live) == (Level.ON, Level.ON)
