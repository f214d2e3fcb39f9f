"""The ports of this host that the operator's session uses: by SSH_CONNECTION, and by the connections of this
process's ancestors.

Law: they make a request stricter and nothing else. The environment alone would not do: `sudo` drops it. What
cannot be read is left out.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.core import procfs
from agent.host import listeners

_PROC: Final = Path("/proc")
_INIT: Final = 1  # its sockets are those of the units that it listens for


def ports() -> frozenset[int]:
    """Of this process."""
    ancestors = list(_ancestors(os.getppid()))
    said = [os.environb, *map(_environment, ancestors)]
    return frozenset().union(*map(of_environment, said)) | _connected(ancestors)


def of_environment(environment: Mapping[bytes, bytes]) -> frozenset[int]:
    """SSH_CONNECTION: client's address and port, this host's address and port."""
    words = environment.get(b"SSH_CONNECTION", b"").split()
    return frozenset({int(words[3])} if len(words) == 4 and words[3].isdigit() else ())


def _ancestors(pid: int) -> Iterator[int]:
    while pid > _INIT:
        yield pid
        try:
            pid = procfs.parent((_PROC / str(pid) / "stat").read_bytes())
        except OSError:  # it has ended
            return


def _environment(pid: int) -> Mapping[bytes, bytes]:
    try:
        fields = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return {name: value for name, _, value in (field.partition(b"=") for field in fields)}


def _connected(pids: list[int]) -> frozenset[int]:
    """Local ports of their incoming connections, so those with a listener."""
    mine = {inode for pid in pids for inode in _sockets(pid)}
    listening: set[int] = set()
    connected: set[int] = set()
    for table in listeners.tables():
        with table.open() as lines:
            for row in procfs.sockets(lines):
                if row.state == procfs.LISTEN:
                    listening.add(row.port)
                elif row.inode in mine:
                    connected.add(row.port)
    return frozenset(listening & connected)


def _sockets(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for fd in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                target = str(fd.readlink())
                if target.startswith("socket:["):
                    yield target[len("socket:[") : -1]
