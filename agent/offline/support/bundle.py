"""The archive: packed in memory, and written once, as a new file that only its owner can read."""

import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from agent.offline.support.part import Piece

MOST: Final = 10 << 20  # bytes of the archive
CONTENTS: Final = "contents.txt"


class Unwritable(Exception):
    """The archive cannot be written: the cause."""


def contents(pieces: Iterable[Piece]) -> bytes:
    """Every part with its size and source, also those that failed, with the cause."""
    lines = ["size  file  source  trouble", *_lines(pieces)]
    return ("\n".join(lines) + "\n").encode(errors="replace")


def _lines(pieces: Iterable[Piece]) -> Iterator[str]:
    for piece in pieces:
        trouble = f"  ({piece.trouble})" if piece.trouble else ""
        yield f"{len(piece.content):>8}  {piece.name}  {piece.source}{trouble}"


def packed(pieces: Sequence[Piece], folder: str, at: float) -> bytes:
    """`folder`: in which everything is unpacked. A part without content has no file."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        files = [Piece(CONTENTS, "", contents(pieces)), *(piece for piece in pieces if piece.content)]
        for piece in files:
            member = tarfile.TarInfo(f"{folder}/{piece.name}")
            member.size, member.mtime, member.mode = len(piece.content), int(at), 0o600
            archive.addfile(member, io.BytesIO(piece.content))
    return made.getvalue()


def write(path: Path, archive: bytes) -> None:
    """Raises Unwritable. No file is replaced, and a file that was begun is removed."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unwritable(error.strerror or str(error)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(archive)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise Unwritable(error.strerror or str(error)) from None
