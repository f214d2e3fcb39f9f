"""An upgrade that is killed in the middle, and what it leaves: exactly one complete version."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TextIO

from agent import __version__

# In the order in which they come; `home` is /usr/lib/fairlead there.
MOMENTS: dict[str, Callable[[Path], bool]] = {
    "the new tree is laid down": lambda home: any(home.glob(f"{__version__}-*/bin/*")),
    "its files get their names": lambda home: any(home.glob(f"{__version__}-*/bin/python")),
    "the link is turned": lambda home: _used(home).name.startswith(f"{__version__}-"),
}


def killed_when(happens: Callable[[], bool], command: Sequence[str]) -> None:
    """`command`: of Machine.command; what that starts gets SIGKILL as soon as it is so."""
    # Who looks must be the quicker one, also where there is little of the processor to be had.
    slowly = ["nice", "-n", "19", *command]
    with (
        TemporaryFile("w+") as said,
        subprocess.Popen(slowly, stdout=said, stderr=said, env={**os.environ}) as running,
    ):
        while not happens():
            assert running.poll() is None, f"it came to an end before that: {_read(said)}"
        (program,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        os.kill(int(program), signal.SIGKILL)


def _read(said: TextIO) -> str:
    said.seek(0)
    return said.read()


def version(home: Path) -> str:
    """Of what starts now. It is whole, and nothing else is in it."""
    used = _used(home)
    number, _, name = used.name.partition("-")
    assert name == _digest(used), f"{used} is not what its name says"
    return number


def _used(home: Path) -> Path:
    return home / (home / "bin/python").readlink().parts[1]


def _digest(tree: Path) -> str:
    """Of every path in it, and of what is in each file; rpm leaves NAME;NUMBER where it was killed."""
    found = hashlib.sha256()
    for path in sorted((tree, *(path for path in tree.rglob("*") if ";" not in path.name)), key=str):
        content = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""
        found.update(str(path).removeprefix(str(tree)).encode() + b"\0" + content)
    return found.hexdigest()[:12]
