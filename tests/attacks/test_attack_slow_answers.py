"""The attacker has the proxy's user: its admin port answers a byte at a time and without end, while root asks.

What must hold: whatever root runs ends in time, and holds no lock while it waits for the answer.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.helper import PROGRAM
from agent.core.reasons import Reason
from agent.host import Host as Paths
from agent.privileged import Refusal
from agent.privileged.proxy import readiness
from agent.privileged.redirect import specification
from agent.privileged.system import deadline
from tests.privileged.helper_requests import REPOSITORY, start
from tests.privileged.hosts import ADMIN, PROXY_UID, Host, Listeners
from tests.privileged.levels import ARM, NOW, refused

ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY)}
_HOOK = """
import sys
from pathlib import Path
from agent.proxyunit.hooks import main
sys.exit(main([sys.argv[1]], Path(sys.argv[2])))
"""

pytestmark = pytest.mark.usefixtures("root")


@contextlib.contextmanager
def dripping(host: Host, ears: Listeners) -> Iterator[threading.Event]:
    """The proxy's listeners, and an admin port that never ends its answer; the event: a client has come."""
    ears.add_listeners(host.space)
    ears.add(host.space, "127.0.0.1", ADMIN, uid=PROXY_UID)
    over, asked, listener = threading.Event(), threading.Event(), ears.sockets[-1]

    def answer() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:  # shut down
                return
            asked.set()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not over.wait(0.1):
                    connection.sendall(b"x")

    threads = [threading.Thread(target=answer) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        over.set()
        listener.shutdown(2)
        for thread in threads:
            thread.join()


def test_attack_of_an_answer_a_byte_at_a_time(host: Host, ears: Listeners) -> None:
    """It counts as one that did not come: nobody knows whether the proxy is ready."""
    with dripping(host, ears):
        assert refused(host, ARM)[0] == refused(host, NOW)[0] == "ProxyUnreadable"
        spec = specification.spec(host.prefix)
        with pytest.raises(Refusal) as caught:
            host.space.inside(lambda: readiness.must_hold(spec, readiness.ask()))
        assert caught.value.reason is Reason.PROXY_UNREADABLE


def test_attack_of_an_answer_under_a_lock(host: Host, ears: Listeners) -> None:
    """While root waits for it, another request has the lock."""
    path = Paths(host.prefix).helper_lock
    path.parent.mkdir()
    with dripping(host, ears) as asked, start(host) as helper:
        assert helper.stdin is not None
        helper.stdin.write(b'{"verb": "redirect arm"}\n')
        helper.stdin.flush()
        assert asked.wait(30)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert helper.poll() is None, "it still waits"
        finally:
            os.close(descriptor)
        output, errors = helper.communicate(timeout=30)
        assert b"ProxyUnreadable" in output and errors == b""


def test_attack_of_a_lock_that_is_held(host: Host) -> None:
    """Each entry point of root ends by its own deadline."""
    with _held(Paths(host.prefix).helper_lock), start(host) as helper:
        output, _ = helper.communicate(b'{"verb": "redirect failed"}\n', timeout=30)
        assert b"cannot end within" in output
    with _held(Paths(host.prefix).helper_lock):
        done = subprocess.run(_hook(host, "failed"), capture_output=True, env=ENVIRONMENT, timeout=60, check=False)
        assert done.returncode == 1 and b"cannot end within" in done.stderr


def test_attack_of_a_caller_that_takes_no_answer(host: Host) -> None:
    """The pipe is full, and nobody reads it."""
    near, far = os.pipe()
    with contextlib.suppress(BlockingIOError):
        os.set_blocking(far, False)
        while True:
            os.write(far, b"x" * 4096)
    os.set_blocking(far, True)
    command = host.space.command(*PROGRAM, "--prefix", str(host.prefix))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=far, env=ENVIRONMENT) as helper:
        helper.communicate(b'{"verb": "redirect check"}\n', timeout=30)
    os.close(near)
    os.close(far)


def test_a_part_ends_before_the_whole() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with deadline.whole(60):
        with pytest.raises(deadline.PartLate), deadline.part(0.01):
            signal.pause()
        with pytest.raises(deadline.Late), deadline.whole(0.01), deadline.part(60):
            signal.pause()
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 30
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) == before


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    path.parent.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _hook(host: Host, verb: str) -> list[str]:
    return host.space.command(sys.executable, "-c", _HOOK, verb, str(host.prefix))
