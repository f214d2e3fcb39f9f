"""Connections at once, and which listener each of them reaches: a byte there, and the listener's port back."""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

SILENT = 0.3  # seconds after which a connection that must not pass has not passed
PATIENCE = 10.0  # seconds for one that must


@contextmanager
def answering(listeners: Sequence[socket.socket], learns: Callable[[socket.socket], bool]) -> Iterator[None]:
    """`learns`: whether the destination of an accepted connection is known; linkerd2-proxy resets all others."""
    wake, woken = socket.socketpair()
    thread = threading.Thread(target=_serve, args=(list(listeners), woken, learns))
    thread.start()
    try:
        yield
    finally:
        wake.close()
        thread.join()
        woken.close()


def _serve(listeners: list[socket.socket], woken: socket.socket, learns: Callable[[socket.socket], bool]) -> None:
    with selectors.DefaultSelector() as ready:
        for one in (*listeners, woken):
            one.setblocking(False)
            ready.register(one, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                found = key.fileobj
                assert isinstance(found, socket.socket)
                if found is woken:
                    return
                _heard(found, found in listeners, ready, learns)


def _heard(
    found: socket.socket,
    listens: bool,
    ready: selectors.BaseSelector,
    learns: Callable[[socket.socket], bool],
) -> None:
    try:
        if listens:
            made, _ = found.accept()
            made.setblocking(False)
            if learns(made):
                ready.register(made, selectors.EVENT_READ)
            else:
                made.close()
            return
        if found.recv(1):
            found.sendall(b"%d" % found.getsockname()[1])
    except OSError:
        if listens:
            return
    ready.unregister(found)
    found.close()


@dataclass
class Dial:
    """`expected`: it gets through; it is waited for."""

    made: socket.socket
    to: tuple[str, int]
    expected: bool
    reached: int | None = None
    over: bool = False


def reached(dials: Mapping[str, Dial]) -> dict[str, int | None]:
    """By name: the port of the listener that answers. Closes the sockets."""
    begun = time.monotonic()
    with selectors.DefaultSelector() as ready:
        for dial in dials.values():
            dial.made.setblocking(False)
            dial.over = dial.made.connect_ex(dial.to) not in (0, 115)  # EINPROGRESS
            if not dial.over:
                ready.register(dial.made, selectors.EVENT_WRITE, dial)
        while left := [dial for dial in dials.values() if not dial.over]:
            end = begun + (PATIENCE if any(dial.expected for dial in left) else SILENT)
            if (rest := end - time.monotonic()) <= 0:
                break
            for key, _ in ready.select(rest):
                _step(key.data, ready)
    for dial in dials.values():
        dial.made.close()
    return {name: dial.reached for name, dial in dials.items()}


def _step(dial: Dial, ready: selectors.BaseSelector) -> None:
    try:
        if ready.get_key(dial.made).events == selectors.EVENT_WRITE:
            dial.made.sendall(b"?")
            ready.modify(dial.made, selectors.EVENT_READ, dial)
            return
        dial.reached = int(dial.made.recv(8) or b"0") or None
    except OSError:
        dial.reached = None
    dial.over = True
    ready.unregister(dial.made)
