"""Archives that claim more than a delivery of a proxy has: refused, before memory or time is spent on them."""

import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.offline import archive, artefact
from agent.offline.artefact import Unusable
from tests.lab import proxy_deliveries
from tests.lab.proxy_deliveries import layout, program, sha256

TOP = f"linkerd2-proxy-v2.366.0-linux-{proxy_deliveries.HERE}"
EMPTY = b"\0" * (2 * tarfile.BLOCKSIZE)
MEMORY = 512 << 20  # bytes of address space that a refusal may take


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def packed(blocks: Iterator[bytes], path: Path) -> str:
    """As gzip, written piece by piece; its hash."""

    with gzip.open(path, "wb", compresslevel=1) as file:
        for block in blocks:
            file.write(block)
    return sha256(path.read_bytes())


def _members() -> Iterator[bytes]:
    one = header("x", 0)
    for _ in range(archive.MOST_MEMBERS // 100 + 1):
        yield one * 100


def _global_records() -> Iterator[bytes]:
    records = b"".join(b"%d k%05d=v\n" % (12, number) for number in range(archive.MOST_SHARED + 1))
    yield header("g", len(records), tarfile.XGLTYPE) + records.ljust(tarfile.BLOCKSIZE * 2, b"\0")
    yield header("x", 0)


def _zeros(count: int) -> Iterator[bytes]:
    for _ in range(count >> 20):
        yield bytes(1 << 20)


def _header_of(kind: bytes, count: int = 16 << 20) -> Callable[[], Iterator[bytes]]:
    def blocks() -> Iterator[bytes]:
        yield header("x", 1 << 30, kind)
        yield from _zeros(count)

    return blocks


def _unpacked() -> Iterator[bytes]:
    yield header("x", archive.MOST_UNPACKED + 1)


def _sparse() -> Iterator[bytes]:
    """A map of a sparse file that does not end."""
    first = bytearray(header("x", 0, tarfile.GNUTYPE_SPARSE))
    first[482] = 1  # more of the map follows
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    yield bytes(first)
    more = (b"00000000001\0" * 42).ljust(504, b"\0") + b"\1" + b"\0" * 7
    for _ in range(2):
        yield more * 2048


def _truncated_map() -> Iterator[bytes]:
    yield next(_sparse())


def _sparse_files() -> Iterator[bytes]:
    """Each of them small enough."""
    many = b",".join([b"1,1"] * (archive.MOST_PARTS + 1))
    length = len(b"GNU.sparse.map=") + len(many) + 2
    length += len(str(length + len(str(length))))
    records = b"%d GNU.sparse.map=%s\n" % (length, many)
    yield header("g", len(records), tarfile.XHDTYPE)
    yield records.ljust(-(-len(records) // 512) * 512, b"\0") + header("x", 0)


def _chain() -> Iterator[bytes]:
    yield (header("x", 1, tarfile.GNUTYPE_LONGNAME) + b"x".ljust(512, b"\0")) * 5000


def _backwards() -> Iterator[bytes]:
    first = bytearray(header("x", 0))
    first[124:136] = b"\xff" * 10 + b"\xfc\x00"  # -1024: the header before
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    yield header("y", 0) * 2 + bytes(first)


ARCHIVES: dict[str, tuple[Callable[[], Iterator[bytes]], str]] = {
    "members": (_members, "more than 60000 members"),
    "global records": (_global_records, "more than 64 global header records"),
    "extended header": (_header_of(tarfile.XHDTYPE, 1 << 30), "larger than 1 MiB"),
    "global header": (_header_of(tarfile.XGLTYPE), "larger than 1 MiB"),
    "long name": (_header_of(tarfile.GNUTYPE_LONGNAME), "larger than 1 MiB"),
    "size": (_unpacked, "larger than 4 GiB unpacked"),
    "sparse map": (_sparse, "larger than 1 MiB"),
    "sparse files": (_sparse_files, "sparse file of more than 1000 parts"),
    "a map that is cut off": (_truncated_map, "damaged: IndexError"),
    "chain of names": (_chain, "damaged: RecursionError"),
    "a size below zero": (_backwards, "cannot be read|there is no linkerd2-proxy"),
}


def take(source: Path, digest: str) -> str:
    """What it is refused with, in a process whose memory is bounded."""
    script = f"""
import resource, sys
from pathlib import Path
from agent.offline import artefact
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
try:
    artefact.take(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[1] + ".out"))
except artefact.Unusable as unusable:
    print(unusable.cause)
"""
    argv = [sys.executable, "-c", script, str(source), digest]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("kind", ARCHIVES)
def test_proxy_install_refuses_an_archive_that_claims_too_much(tmp_path: Path, kind: str) -> None:
    blocks, cause = ARCHIVES[kind]
    path = tmp_path / f"{TOP}.tar.gz"
    digest = packed(blocks(), path)
    assert re.search(cause, take(path, digest))


def test_proxy_install_refuses_a_layer_that_claims_too_much(tmp_path: Path) -> None:
    path = tmp_path / "layer"
    packed(_global_records(), path)
    digest = layout(tmp_path / "image", [path.read_bytes()])
    with pytest.raises(Unusable, match="more than 64 global header records"):
        artefact.take(tmp_path / "image", digest, tmp_path / "out")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_proxy_install_takes_every_form_of_tar(tmp_path: Path, mode: str, form: int) -> None:
    """With names that need a header of their own, but for ustar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=form) as tar:  # type: ignore[call-overload]
        long = "d" * (90 if form == tarfile.USTAR_FORMAT else 300)
        for name, content in ((f"{TOP}/{long}", b"text"), (f"{TOP}/linkerd2-proxy", program())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    path = tmp_path / f"{TOP}.tar"
    path.write_bytes(out.getvalue())
    assert artefact.take(path, sha256(path.read_bytes()), tmp_path / "out").version == "2.366.0"
    assert (tmp_path / "out").read_bytes() == program()
