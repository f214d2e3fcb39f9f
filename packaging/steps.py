"""What the set-up programs share: long steps with progress, errors with a remedy, a lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

USAGE = 64
UNAVAILABLE = 69
FAILED = 70
NO_PERMISSION = 77

_HEARTBEAT = 30.0


class Trouble(Exception):
    """An expected end: what is wrong ("cannot X: cause"), the remedy, and an exit code of its kind."""

    def __init__(self, what: str, way_out: str, code: int = UNAVAILABLE) -> None:
        super().__init__(what)
        self.way_out = way_out
        self.code = code


def program(main: Callable[[list[str]], None]) -> None:
    """Runs a set-up program: a Trouble becomes two lines and its exit code."""
    try:
        main(sys.argv[1:])
    except Trouble as trouble:
        print(f"{trouble}\n{trouble.way_out}", file=sys.stderr)
        sys.exit(trouble.code)
    except KeyboardInterrupt:
        sys.exit(130)


def say(text: str) -> None:
    print(f"{text}\n", end="", flush=True)  # in one piece: other threads say something too


def cache() -> Path:
    """Where things live that outlast a checkout."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification requires ignoring a relative path.
    base = Path(named) if named.startswith("/") else Path.home() / ".cache"
    return base / "fairlead"


def run(
    doing: str,
    failing: str,
    argv: Sequence[str],
    way_out: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """One long step: said when it starts and twice a minute; its output is shown only when it fails."""
    say(f"{doing} …")
    with tempfile.TemporaryFile() as log:
        try:
            code = _watched(failing, argv, log, {**(os.environ if env is None else env)}, cwd)
        except OSError as error:
            raise Trouble(f"cannot {failing}: {error}", way_out) from error
        if code != 0:
            sys.stderr.write("".join(f"  | {line}\n" for line in _tail(log, 15)))
            raise Trouble(f"cannot {failing}: {Path(argv[0]).name} exited {code}", way_out, FAILED)


def _watched(what: str, argv: Sequence[str], log: IO[bytes], env: Mapping[str, str], cwd: Path | None) -> int:
    started = time.monotonic()
    child = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=cwd
    )
    try:
        while True:
            try:
                return child.wait(_HEARTBEAT)
            except subprocess.TimeoutExpired:
                _tell_alive(what, time.monotonic() - started, _tail(log, 1))
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()


def _tell_alive(what: str, elapsed: float, last: list[str]) -> None:
    """Several steps may go on at once."""
    minutes, seconds = divmod(round(elapsed), 60)
    say(f"  … {what}, {minutes} min {seconds:02d} s: {last[0][:90] if last else 'at work'}")


def _tail(log: IO[bytes], lines: int) -> list[str]:
    # os.pread: the child writes through the same open file, and its offset is not ours to move.
    size = os.fstat(log.fileno()).st_size
    start = max(0, size - 8192)
    text = os.pread(log.fileno(), size - start, start).decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()][-lines:]


@contextlib.contextmanager
def lock(path: Path, waiting: str) -> Iterator[None]:
    """Two set-ups at once do the work once: the second waits, says so, and finds it done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{waiting} …")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
