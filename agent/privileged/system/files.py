"""Root's own files: read only if no other user can have written them, written atomically."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agent.core import prepared
from agent.host import Host, reading
from agent.privileged import Refusal

MOST: Final = 1 << 20  # bytes of a configuration


def read(path: Path) -> str:
    """The text of a file that belongs to root, in a directory that does."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError:
        raise Refusal(f"cannot read {path}: not UTF-8") from None


def read_bytes(path: Path) -> bytes:
    """The same, for what may be in any encoding."""
    try:
        require_root_only(path.parent, path.parent.stat())
        with reading.opened(path, links=True) as file:
            require_root_only(path, os.fstat(file.fileno()))
            text = file.read(MOST + 1)
        if len(text) > MOST:
            raise Refusal(f"cannot read {path}: longer than {MOST} bytes")
        return text
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}") from None


def write(path: Path, text: str) -> None:
    """Replace the file at once; it is on the disk when this returns. Under `lock` alone."""
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        require_root_only(path.parent, path.parent.stat())
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644), "w") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise Refusal(f"cannot write {path}: {error.strerror}") from None


def remove(path: Path) -> None:
    """Once this returns it stays gone. Under `lock` alone."""
    try:
        path.unlink()
        sync_folder(path.parent)
    except OSError as error:
        raise Refusal(f"cannot remove {path}: {error.strerror}") from None


def identity(path: Path) -> prepared.Identity:
    """Of the file that a link leads to, which holds until its content is another."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return prepared.absent()
    return prepared.identity(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


@contextmanager
def lock(prefix: Path) -> Iterator[None]:
    """Wait until no other helper writes."""
    path = Host(prefix).helper_lock
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refusal(f"cannot lock {path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def require_root_only(path: Path, status: os.stat_result) -> None:
    if status.st_uid != 0:
        raise Refusal(f"cannot trust {path}: it belongs to uid {status.st_uid}, not to root")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Refusal(f"cannot trust {path}: users other than its owner may write it")


def sync_folder(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
