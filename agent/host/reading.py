"""Reads a file that another user may have written, or whose name another user may have taken.

Law: outside /proc and /sys, no other module opens a file to read it whole.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

_TO_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # the open of a FIFO does not wait
RECORD: Final = 1 << 16  # bytes; no record that fairlead writes is as long
DOCUMENT: Final = 1 << 20  # bytes of a configuration, a kubeconfig or a set of certificates


def read(path: Path, most: int, *, links: bool = False) -> bytes:
    """The whole of a regular file of at most so many bytes. Raises OSError, with its cause in `strerror`, also for
    anything else that has this name. `links`: the name itself may be one, because root chose it."""
    with opened(path, links=links) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"longer than {most} bytes", str(path))
    return content


def text(path: Path, most: int, *, links: bool = False) -> str:
    """The same; bytes that are not UTF-8 are replaced."""
    return read(path, most, links=links).decode(errors="replace")


@contextmanager
def opened(path: Path, *, links: bool = False) -> Iterator[BinaryIO]:
    """A regular file, to be read. Raises OSError."""
    try:
        descriptor = os.open(path, _TO_READ if links else _TO_READ | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP and not links:
            raise OSError(errno.ELOOP, "it is a symbolic link", str(path)) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, "Is a directory" if stat.S_ISDIR(mode) else "it is not a regular file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        yield file


def present(paths: Sequence[Path]) -> Path:
    """The first that is there, also where it cannot be read; else the last."""
    return next((path for path in paths if not absent(path)), paths[-1])


def absent(path: Path) -> bool:
    """There is nothing of this name; False also where that cannot be seen."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def discard(path: Path) -> None:
    """Remove what has this name, also a folder; a program does this in its own folder alone. Raises OSError."""
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        import shutil  # costs as much as the rest of a gate's start, and this is rare

        shutil.rmtree(path)
