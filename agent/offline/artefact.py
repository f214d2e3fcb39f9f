"""Takes linkerd2-proxy out of its delivery: a bare binary, a release's tarball or folder, an OCI image.

Law: only one file of an archive is unpacked, into a file that we name; names in an archive decide nothing. The
hash is checked before anything is read out of it.
"""

import hashlib
import json
import lzma
import platform
import tarfile
import zlib
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from agent.core import releases
from agent.offline import archive
from agent.offline.archive import Members

IN_IMAGE: Final = "usr/lib/linkerd/linkerd2-proxy"
VERSION_IN_IMAGE: Final = "usr/lib/linkerd/linkerd2-proxy-version.txt"
MOST: Final = 512 << 20  # bytes of a binary
MOST_JSON: Final = 4 << 20
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_ELF: Final = b"\x7fELF"
_INDEXES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)


class Unusable(Exception):
    """The delivery cannot be installed: the cause and the remedy."""

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause, self.remedy = cause, remedy


@dataclass(frozen=True)
class Taken:
    """`version`: as the delivery states, "" where it states none."""

    digest: str
    version: str


def take(source: Path, digest: str, target: Path) -> Taken:
    """Write the binary in `source` to `target`, once `source` has that SHA-256: of the
    file; of the binary, in a release's folder; of the image's manifest, in a folder of OCI layout. What is hashed
    is a copy beside `target`, so it cannot be exchanged afterwards. Raises Unusable.
    """
    copy = target.with_name("delivery")
    try:
        return _take(source, digest, target, copy)
    except archive.TooLarge as error:
        raise Unusable(str(error), "give a release of linkerd2-proxy or an image of it") from None
    except (OSError, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise Unusable(f"it cannot be read: {error}") from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise Unusable(f"it is damaged: {error!r}") from None
    finally:
        copy.unlink(missing_ok=True)


def _take(source: Path, digest: str, target: Path, copy: Path) -> Taken:
    if source.is_dir() and (source / "index.json").exists():
        return _from_image(_Folder(source), digest, target)
    if source.is_dir():
        binary = source / releases.NAME
        _must_be(_copied(binary.open("rb"), target), digest, binary)
        return Taken(digest, releases.in_name(source.resolve().name))
    _must_be(_copied(source.open("rb"), copy), digest, source)
    if not _is_archive(copy):
        copy.rename(target)
        return Taken(digest, releases.in_name(source.name))
    with archive.opened(copy) as (tar, members):
        if "index.json" in members:
            return _from_image(_Archive(tar, members), "", target, digest)
        return _from_release(tar, members, digest, target, source.name)


def _is_archive(source: Path) -> bool:
    with source.open("rb") as file:
        head = file.read(4)
    return head != _ELF and head[:2] != b"#!" and archive.is_archive(source)


def _from_release(tar: tarfile.TarFile, members: Members, digest: str, target: Path, name: str) -> Taken:
    """The binary lies in the archive's top folder, or at its top."""
    binaries = [m for path, m in members.items() if path.split("/")[-1] == releases.NAME and path.count("/") <= 1]
    if not binaries:
        raise Unusable(f"there is no {releases.NAME} in it", "give a release of linkerd2-proxy or an image of it")
    _extract(tar, binaries[0], target)
    return Taken(digest, releases.in_name(name) or releases.in_name(binaries[0].name))


# OCI images ----------------------------------------------------------------------------------------


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, name: str) -> IO[bytes]:
        return (self._root / name).open("rb")


class _Archive:
    def __init__(self, tar: tarfile.TarFile, members: Members) -> None:
        self._tar, self._members = tar, members

    def open(self, name: str) -> IO[bytes]:
        member = self._tar.extractfile(self._members[name])
        if member is None:
            raise Unusable(f"{name} is not a file in it")
        return member


_Layout = _Folder | _Archive


def _from_image(layout: _Layout, manifest: str, target: Path, whole: str = "") -> Taken:
    """`manifest`: the digest that its manifest must have, "" where the whole was checked already (`whole`)."""
    with layout.open("index.json") as file:
        index = json.loads(file.read(MOST_JSON))
    digest = _manifest_digest(layout, index)
    if manifest:
        _must_be(digest, manifest, "the image's manifest")
    layers = [_hex(layer["digest"]) for layer in _blob(layout, digest)["layers"]]
    _find(layout, layers, IN_IMAGE, target)
    version = target.with_name(target.name + ".version")
    try:
        _find(layout, layers, VERSION_IN_IMAGE, version)
        said = releases.number(version.read_text())
    except Unusable:  # an old image has none
        said = ""
    finally:
        version.unlink(missing_ok=True)
    return Taken(whole or digest, said)


def _manifest_digest(layout: _Layout, index: dict[str, Any], depth: int = 3) -> str:
    """Of this machine's platform. An index may contain an index."""
    here = ARCHITECTURES.get(platform.machine(), platform.machine())
    entries = index["manifests"]
    fitting = [e for e in entries if e.get("platform", {}).get("architecture", here) == here]
    fitting = [e for e in fitting if e.get("platform", {}).get("os", "linux") == "linux"]
    if not fitting or depth == 0:
        raise Unusable(f"there is no image for linux/{here} in it", "fetch the one for this machine's platform")
    chosen = _hex(fitting[0]["digest"])
    if fitting[0].get("mediaType") in _INDEXES:
        return _manifest_digest(layout, _blob(layout, chosen), depth - 1)
    return chosen


def _hex(digest: str) -> str:
    algorithm, _, digits = digest.partition(":")
    if algorithm != "sha256" or not releases.is_digest(digits):
        raise Unusable(f"{digest!r} in it is not a sha256 digest")
    return digits


def _blob(layout: _Layout, digest: str) -> dict[str, Any]:
    with layout.open(f"blobs/sha256/{digest}") as file:
        text = file.read(MOST_JSON)
    _must_be(hashlib.sha256(text).hexdigest(), digest, f"blob {digest[:12]}")
    document: dict[str, Any] = json.loads(text)
    return document


def _find(layout: _Layout, layers: list[str], path: str, target: Path) -> None:
    """The file of the topmost layer that has or removes it."""
    copy = target.with_name("layer")
    try:
        for layer in reversed(layers):
            _must_be(_copied(layout.open(f"blobs/sha256/{layer}"), copy), layer, f"layer {layer[:12]}")
            _must_not_be_zstd(copy)
            with archive.opened(copy) as (tar, members):
                if path in members:
                    _extract(tar, members[path], target)
                    return
                if _whited_out(members.keys(), path):
                    break
    finally:
        copy.unlink(missing_ok=True)
    raise Unusable(f"there is no /{path} in the image", "give an image of linkerd/proxy")


def _must_not_be_zstd(layer: Path) -> None:
    with layer.open("rb") as file:
        if file.read(4) == b"\x28\xb5\x2f\xfd":
            remedy = "compress it with gzip: skopeo copy --dest-compress-format gzip"
            raise Unusable("a layer is compressed with zstd", remedy)


def _whited_out(names: Set[str], path: str) -> bool:
    """The layer removes the file, or a folder above it, or all that such a folder contained."""
    parts = path.split("/")
    for depth in range(len(parts)):
        folder = "/".join(parts[:depth])
        if {_join(folder, f".wh.{parts[depth]}"), _join(folder, ".wh..wh..opq")} & names:
            return True
    return False


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


# bytes ---------------------------------------------------------------------------------------------


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    if not member.isreg():
        raise Unusable(f"{member.name} in it is not a regular file")
    # Its name decides nothing here, but one that points outside the archive is malicious.
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise Unusable(f"{member.name} in it points outside the archive")
    file = tar.extractfile(member)
    assert file is not None
    _copied(file, target)


def _copied(source: IO[bytes], target: Path) -> str:
    """The SHA-256 of what was copied."""
    digest, size = hashlib.sha256(), 0
    with source, target.open("wb") as file:
        while part := source.read(1 << 20):
            if (size := size + len(part)) > MOST:
                raise Unusable(f"it is larger than {MOST >> 20} MiB")
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def _must_be(digest: str, wanted: str, what: object) -> None:
    if digest != wanted:
        raise Unusable(f"{what} has the SHA-256 {digest}, not {wanted}", "fetch it again, or correct the hash")
