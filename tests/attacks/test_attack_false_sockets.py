"""The attacker serves a socket where a command of root expects the privileged helper or the agent: it reports
success, answers without an end, or a byte at a time.

What must hold: root starts the helper itself, believes only the agent's user and root, and each answer has a limit
of size and one deadline.
"""

import asyncio
import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.helper import Helper
from agent.core.reasons import Reason
from agent.host import Host as Paths
from agent.ports import Trouble
from tests.attacks import limited
from tests.attacks.limited import WITHIN
from tests.lab.netns import namespace
from tests.privileged.hosts import Host, files

ATTACKER = 2109
LIE = b'{"ok": true, "inbound": "on", "outbound": "on"}\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"

Answer = Callable[[socket.socket, threading.Event], None]


@contextlib.contextmanager
def false(path: Path, answer: Answer, uid: int = ATTACKER) -> Iterator[None]:
    """A socket whose listener belongs to `uid`: the kernel keeps the effective user of the moment of listen()."""
    path.parent.mkdir(parents=True, exist_ok=True)
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.seteuid(uid)
        try:
            listener.listen()
        finally:
            os.seteuid(0)
        serving = threading.Thread(target=_serve, args=(listener, answer, over))
        serving.start()
        try:
            yield
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            serving.join()


def _serve(listener: socket.socket, answer: Answer, over: threading.Event) -> None:
    with contextlib.suppress(OSError):  # shut down
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):  # the client has ended
                answer(connection, over)


def _say(connection: socket.socket, answer: bytes) -> None:
    connection.sendall(answer)
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(1 << 16):  # until the client has sent its whole request, and has ended
        pass


def _lie(connection: socket.socket, over: threading.Event) -> None:
    _say(connection, LIE)


def _flood(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD)
    while not over.is_set():
        connection.sendall(b" " * (1 << 20))


def _drip(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD)
    while not over.wait(0.05):
        connection.sendall(b" ")


def _deep(connection: socket.socket, over: threading.Event) -> None:
    _say(connection, HEAD + b"[" * 200_000)


def _number(connection: socket.socket, over: threading.Event) -> None:
    _say(connection, HEAD + b"1")


# A process of its own: one that is attacked with success takes all memory, or never ends.
_COMMAND = """
import sys
from agent.cli.kit.client import Client
from agent.cli.kit.exits import Failure
try:
    Client(sys.argv[1], "leave the mesh", timeout=1.0).phase("left")
except Failure as failure:
    print(failure.message)
"""


async def test_attack_false_helper_socket_for_root(root: None, tmp_path: Path) -> None:
    """The answer is that of the helper which root started."""
    files(tmp_path)
    with namespace() as space, false(Paths(tmp_path).helper_socket, _lie):
        host = Host(space, space, tmp_path)
        answer = await asyncio.wait_for(host.helper().ask("redirect check", Reason.REDIRECT_FAILED), WITHIN)
    assert answer == {"inbound": "off", "outbound": "off"}


async def test_attack_false_helper_socket_for_the_agent(root: None, tmp_path: Path) -> None:
    helper = Helper(str(tmp_path), ["/nonexistent"], starts=False)
    with false(Paths(tmp_path).helper_socket, _lie):
        for call in (helper.ask("redirect check", Reason.REDIRECT_FAILED), helper.watch(Reason.REDIRECT_FAILED)):
            with pytest.raises(Trouble, match=f"belongs to uid {ATTACKER}, not to root"):
                await asyncio.wait_for(call, WITHIN)


@pytest.mark.parametrize(
    ("answer", "uid", "said"),
    [
        (_lie, ATTACKER, f"belongs to uid {ATTACKER}, not to root or the agent"),
        (_flood, 0, "the answer is longer than 8 MiB"),
        (_drip, 0, "the agent does not answer"),
        (_deep, 0, "the answer is not a JSON object"),
        (_number, 0, "the answer is not a JSON object"),
    ],
)
def test_attack_false_agent_socket(root: None, tmp_path: Path, answer: Answer, uid: int, said: str) -> None:
    """The agent itself may have been taken over: its user's answers are bounded like any other."""
    with false(Paths(tmp_path).socket, answer, uid):
        done = limited.run(_COMMAND, str(tmp_path))
    assert done.stdout.startswith("cannot leave the mesh: "), done.stderr[-2000:]
    assert said in done.stdout


_WAITS = re.compile(r"(?<![\w'/-])(systemctl|systemd-\w+|fairlead|nft|userdel|groupdel) (?=[a-z\"-])")


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
def test_attack_that_makes_a_step_of_the_package_wait(name: str) -> None:
    """Each program that asks another one runs within a limit, whatever answers it."""
    script = Path(__file__).parents[2] / "packaging/scripts" / name
    text = script.read_text().replace("\\\n", " ")
    steps = [line for line in text.splitlines() if not line.lstrip().startswith(("#", "for ", "echo "))]
    for line in steps:
        for found in _WAITS.finditer(re.sub(r"say \".*\"", "", line)):
            assert re.search(r'within ("[^"]+"|\d+) $', line[: found.start()]), line
