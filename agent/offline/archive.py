"""The members of a tar, packed or not, with a bound on all that its headers may claim.

Law: memory and time are bounded, whatever an archive claims. The tar module is asked for headers only through a
file that counts what it reads, goes forwards alone, and ends at a size that no delivery of a proxy has.
"""

import bz2
import contextlib
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, cast

MOST_MEMBERS: Final = 60_000  # a layer with a full distribution has about 50,000
MOST_HEADERS: Final = 96 << 20  # bytes, of all members
MOST_HEADER: Final = 1 << 20  # bytes, of one member: long names, extended headers
MOST_PARTS: Final = 1_000  # of a sparse file
MOST_UNPACKED: Final = 4 << 30  # bytes; skipped ones count too
MOST_SHARED: Final = 64  # settings that apply to all later members
_PACKED: Final[dict[bytes, Callable[[Path], object]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


class TooLarge(Exception):
    """The archive claims more than a delivery of a proxy has."""


Members = dict[str, tarfile.TarInfo]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[tarfile.TarFile, Members]]:
    """The archive, and its members by their plain names, the last one of each name. Raises TooLarge, and what
    the tar module and the decompressors raise of a damaged one."""
    with unpacked(path) as file:
        bounded = _Headers(file)
        with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:") as archive:
            members = _members(archive, bounded)
            bounded.listed = True
            yield archive, members


def is_archive(path: Path) -> bool:
    """Whether the first block is the header of a tar."""
    with unpacked(path) as file:
        try:
            tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        except tarfile.TarError:
            return False
    return True


def unpacked(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(6)
    open_it = next((one for magic, one in _PACKED.items() if head.startswith(magic)), lambda path: path.open("rb"))
    return cast(IO[bytes], open_it(path))


def _members(archive: tarfile.TarFile, bounded: "_Headers") -> Members:
    members: Members = {}
    for count, member in enumerate(archive, 1):
        bounded.next_member()
        if count > MOST_MEMBERS:
            raise TooLarge(f"it has more than {MOST_MEMBERS} members")
        if len(archive.pax_headers) > MOST_SHARED:
            raise TooLarge(f"it has more than {MOST_SHARED} global header records")
        if len(member.sparse or ()) > MOST_PARTS:
            raise TooLarge(f"it has a sparse file of more than {MOST_PARTS} parts")
        member.pax_headers = {}  # what is needed was applied to the member
        members[member.name.removeprefix("./").strip("/")] = member
    return members


class _Headers:
    """A file for the tar module. Until `listed`, only headers are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.listed = file, False
        self._all = self._one = 0  # bytes read: of all headers, of this member's

    def next_member(self) -> None:
        self._one = 0

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int) -> int:
        if offset > MOST_UNPACKED:
            raise TooLarge(f"it claims to be larger than {MOST_UNPACKED >> 30} GiB unpacked")
        if not self.listed and offset < self._file.tell():
            raise tarfile.ReadError("a header points backwards")
        return self._file.seek(offset)

    def read(self, size: int) -> bytes:
        if not self.listed:
            self._bound(size)
        return self._file.read(size)

    def _bound(self, size: int) -> None:
        self._one, self._all = self._one + size, self._all + size
        if size < 0 or self._one > MOST_HEADER:
            raise TooLarge(f"the header of a member claims to be larger than {MOST_HEADER >> 20} MiB")
        if self._all > MOST_HEADERS:
            raise TooLarge(f"its headers are larger than {MOST_HEADERS >> 20} MiB")
