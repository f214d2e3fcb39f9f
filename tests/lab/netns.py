"""Throw-away network namespaces: made by a test, isolated, and removed with the test."""

import ctypes
import os
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Namespace:
    name: str

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    def command(self, *argv: str) -> list[str]:
        """The command line that runs a program inside."""
        return ["nsenter", f"--net={self.path}", *argv]

    def run(self, *argv: str, input: str = "") -> str:
        """Run a program inside, to its end. Returns its standard output."""
        return _run(self.command(*argv), input)

    def ip(self, words: str) -> None:
        _run(["ip", "-n", self.name, *words.split()])

    def inside(self, function: Callable[[], T], uid: int = 0) -> T:
        """Call it inside. A socket made there stays there, and belongs to `uid`, even if it is used elsewhere
        later.

        With a uid it should make the socket and no more: that user may not read the interpreter's modules.
        """
        results: list[T] = []
        errors: list[BaseException] = []

        def call() -> None:
            try:
                _enter(self.path, uid)
                results.append(function())
            except BaseException as error:
                errors.append(error)

        # A namespace and a file-system uid are a thread's own, so they end with this one.
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]


@contextmanager
def namespace() -> Iterator[Namespace]:
    """With loopback up, and nothing else."""
    made = Namespace(f"fl-{secrets.token_hex(4)}")
    _run(["ip", "netns", "add", made.name])
    try:
        made.ip("link set lo up")
        yield made
    finally:
        _run(["ip", "netns", "del", made.name])


def join(one: Namespace, its: Sequence[str], other: Namespace, others: Sequence[str]) -> str:
    """Connect two namespaces by a veth pair; its name in both. `its`, `others`: addresses with prefix lengths."""
    name = f"w{secrets.token_hex(3)}"
    _run(["ip", "link", "add", name, "netns", one.name, "type", "veth", "peer", "name", name, "netns", other.name])
    for space, addresses in ((one, its), (other, others)):
        for address in addresses:
            # An IPv6 address would otherwise be unusable for a second, until duplicate address detection ends.
            space.ip(f"addr add {address} dev {name}" + (" nodad" if ":" in address else ""))
        space.ip(f"link set {name} up")
    return name


def _enter(path: str, uid: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
    finally:
        os.close(descriptor)
    _libc.setfsuid(uid)  # the kernel takes a socket's owner from it


def _run(argv: Sequence[str], input: str = "") -> str:
    done = subprocess.run(argv, input=input, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout
