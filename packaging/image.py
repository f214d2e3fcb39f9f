"""Builds the image of `fairlead watcher` into dist/: what `make image` does.

    python packaging/image.py [--root DIR] [--version VERSION] [--arch ARCH] [--into DIR]

An OCI layout with one layer: the package's tree, and from a Debian the C library that its interpreter needs. It
has no shell and no package manager. The same tree gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import compiled
import contents
import debian
import elf
import interpreter
import packages
import realparts
import steps
import unpacked
from contents import Entry

USER = 65532  # as config/cluster/watcher.yaml has it
ENTRY_POINT = "/usr/bin/fairlead"
# glibc finds names by these; no program names them.
NAMES = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")
MULTIARCH = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
# Where a runtime mounts something, also over a root that is read-only.
MOUNTED = ("/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/var/run/secrets")  # noqa: S108 - folders in the image
MEDIA = "application/vnd.oci.image"


def main(args: list[str]) -> None:
    asked = packages.parser("image.py").parse_args(args)
    with tempfile.TemporaryDirectory(prefix="fairlead-image-") as stage:
        made = packages.prepared(asked, Path(stage))
        root = asked.root or debian_root(made.architecture)
        libraries = dict(shared_libraries(made, root))
        parts = interpreter.packages(root, (path.resolve() for path in libraries.values()))
        entries = list(whole(dataclasses.replace(made, beside=tuple(parts)), root, libraries, parts))
        place = asked.into / f"fairlead-{made.version}-{made.architecture}.oci"
        write(place, entries, made)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    steps.say(f"{place}: {size / 1e6:.1f} MB, an OCI layout")


def debian_root(architecture: str) -> Path:
    """Of the release whose sources the interpreter is compiled from."""
    if architecture != packages.OWN:
        return unpacked.FOREIGN[architecture].path  # built with the interpreter
    part = next(one for one in debian.ROOTS if (one.suite, one.kind) == (compiled.OLDEST.suite, ""))
    realparts.build(part)
    return part.path


def shared_libraries(made: packages.Build, root: Path) -> Iterator[tuple[str, Path]]:
    """Where each is in the image, and the file: all that the tree needs and does not bring."""
    folder = f"/lib/{MULTIARCH[made.architecture]}"
    tree = [*elf.files(made.home), *elf.files(made.wheels)]
    own = {path.name for path in tree}
    loader = elf.loader(made.home / "bin/python")
    yield loader, interpreter.library(root, Path(loader).name)
    ahead = [name for path in tree for name in elf.named(path)]
    ahead += [name for name in NAMES if _has(root, name)]
    seen = own | {Path(loader).name}
    while ahead:
        if (name := ahead.pop()) not in seen:
            seen.add(name)
            found = interpreter.library(root, name)
            yield f"{folder}/{name}", found
            ahead += elf.named(found)


def _has(root: Path, name: str) -> bool:
    """An older glibc has them in files of their own."""
    try:
        interpreter.library(root, name)
    except steps.Trouble:
        return False
    return True


def whole(
    made: packages.Build, root: Path, libraries: dict[str, Path], parts: list[interpreter.Part]
) -> Iterator[Entry]:
    """All that is in the layer: of the package what runs off a host, and what says what is inside."""
    ours = (f"{contents.HOME}/", f"{contents.DOC}/licences/")
    single = (ENTRY_POINT, f"{contents.DOC}/copyright", f"{contents.DOC}/sbom.cdx.json")
    for one in packages.everything(made):
        if one.only != "rpm" and (one.destination.startswith(ours) or one.destination in single):
            yield one
    # A root that only boots in tests has no licences.
    roots = [place for place in (root, Path("/")) if (place / "usr/share/doc/libc6/copyright").exists()]
    for place in roots[:1]:
        yield from (one for one in contents.licences(place, parts) if one.only != "rpm")
    for path, source in libraries.items():
        yield Entry(path, source.resolve(), 0o755)
    yield from (Entry(path, None, 0o755, "dir") for path in MOUNTED)


def layer(entries: Iterable[Entry], mtime: int) -> bytes:
    """As a tar archive. Names are sorted, every folder is listed, and owner and time are fixed."""
    found = {one.destination.strip("/"): one for one in entries}
    for name in list(found):
        for folder in Path(name).parents:
            found.setdefault(str(folder), Entry(f"/{folder}", None, 0o755, "dir"))
    found.pop(".", None)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, one in sorted(found.items()):
            _add(archive, name, one, mtime)
    return out.getvalue()


def _add(archive: tarfile.TarFile, name: str, one: Entry, mtime: int) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = one.mode, mtime
    if one.kind == "symlink":
        info.type, info.linkname = tarfile.SYMTYPE, str(one.source)
        archive.addfile(info)
    elif one.source is None:
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    else:
        info.size = one.source.stat().st_size
        with one.source.open("rb") as file:
            archive.addfile(info, file)


def write(place: Path, entries: Iterable[Entry], made: packages.Build) -> None:
    """The layout, in place of one that is there."""
    fresh = place.with_name(f".{place.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "blobs/sha256").mkdir(parents=True)
    tree = layer(entries, packages.epoch())
    packed = _blob(fresh, f"{MEDIA}.layer.v1.tar+gzip", gzip.compress(tree, mtime=0))
    config = _blob(fresh, f"{MEDIA}.config.v1+json", _json(configuration(made, hashlib.sha256(tree).hexdigest())))
    manifest = {"schemaVersion": 2, "mediaType": f"{MEDIA}.manifest.v1+json", "config": config, "layers": [packed]}
    listed = _blob(fresh, f"{MEDIA}.manifest.v1+json", _json(manifest))
    listed["platform"] = {"architecture": made.architecture, "os": "linux"}
    listed["annotations"] = {"org.opencontainers.image.ref.name": made.version}
    index = {"schemaVersion": 2, "mediaType": f"{MEDIA}.index.v1+json", "manifests": [listed]}
    (fresh / "index.json").write_bytes(_json(index))
    (fresh / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)


def configuration(made: packages.Build, digest: str) -> dict[str, Any]:
    labels = {"title": "fairlead", "version": made.version, "licenses": "Apache-2.0"}
    return {
        "created": packages.mtime(),
        "architecture": made.architecture,
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": [ENTRY_POINT],
            "Cmd": ["watcher"],
            "WorkingDir": "/",
            "Labels": {f"org.opencontainers.image.{key}": value for key, value in labels.items()},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": packages.mtime(), "created_by": "packaging/image.py"}],
    }


def _blob(place: Path, media: str, content: bytes) -> dict[str, Any]:
    """Its descriptor."""
    digest = hashlib.sha256(content).hexdigest()
    (place / "blobs/sha256" / digest).write_bytes(content)
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


if __name__ == "__main__":
    steps.program(main)
