"""Private namespaces: no other program sees what the sandbox does to mounts, processes and network, and the kernel
removes all of it when the sandbox ends, however it ends.
"""

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

# Mount, pid and network namespaces; --kill-child: the death of unshare is the death of everything inside.
UNSHARE = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc")
INSIDE = "FAIRLEAD_SANDBOX_INSIDE"

MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)


def inside() -> bool:
    return INSIDE in os.environ


def run_inside(command: Sequence[str]) -> int:
    """Run `command`, which must call `settle` first, in private namespaces; its exit code."""
    return subprocess.run([*UNSHARE, *command], env={**os.environ, INSIDE: "1"}).returncode


def settle(*readable: Path) -> Path:
    """The first call inside: a /run of our own, and `readable` can be read by every user. Returns an empty
    directory for the sandbox's files."""
    assert inside()
    mount("", Path("/"), flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", Path("/run"), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    Path("/run/netns").mkdir()
    base = Path("/run/fl")
    base.mkdir()
    open_the_way(*readable)
    return base


def open_the_way(*paths: Path) -> None:
    """Make each of `paths` reachable for every user, in this mount namespace alone.

    A checkout or an interpreter in a home directory is below a directory of mode 0700 (or 0750), which the proxy's
    user cannot enter. Over the first such directory a tmpfs is mounted that contains only the paths below it; no
    mode is changed, and the rest of that home is hidden.
    """
    covers: dict[Path, list[Path]] = {}
    for path in dict.fromkeys(p.resolve() for p in paths):
        closed = _first_closed(path)
        if closed is not None:
            covers.setdefault(closed, []).extend(path.iterdir() if closed == path else [path])
    for closed, wanted in covers.items():
        _cover(closed, _outermost(wanted))


def _first_closed(path: Path) -> Path | None:
    """The topmost directory on the way to `path` that others may not pass."""
    return next((p for p in reversed([path, *path.parents]) if not p.stat().st_mode & 0o001), None)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    ordered = sorted(paths)
    return [p for p in ordered if not any(other in p.parents for other in ordered)]


def _cover(closed: Path, wanted: list[Path]) -> None:
    """Held open by a descriptor, what is about to be covered can still be bound into the cover."""
    with contextlib.ExitStack() as stack:
        sources = []
        for path in wanted:
            fd = os.open(path, os.O_PATH)
            stack.callback(os.close, fd)
            sources.append((path, fd, path.is_dir()))
        mount("tmpfs", closed, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
        for path, fd, is_directory in sources:
            path.parent.mkdir(parents=True, exist_ok=True)
            if is_directory:
                path.mkdir(exist_ok=True)
            else:
                path.touch()
            mount(f"/proc/self/fd/{fd}", path, flags=MS_BIND | MS_REC)


def mount(source: str, target: Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError."""
    words = (source, str(target), kind, data)
    found, where, what, how = (word.encode() or None for word in words)
    if _libc.mount(found, where, what, flags, how) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount {target}: {os.strerror(number)}")


def python_roots() -> list[Path]:
    """What a process of another user must be able to read to run this very Python and fairlead."""
    executable = Path(sys.executable).resolve()
    return [Path(__file__).resolve().parents[3], Path(sys.prefix), Path(sys.base_prefix), executable.parent]
