"""Deliveries of a proxy for the tests of its installation: the stand-in as a release and as OCI images."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.offline.artefact import ARCHITECTURES, IN_IMAGE, VERSION_IN_IMAGE

HERE = ARCHITECTURES.get(platform.machine(), platform.machine())
ELSEWHERE = "s390x"


def program(version: str = "0.0.0-dev", exit_code: int = 64) -> bytes:
    """What a proxy without an environment does and says."""
    said = f"[ 0.001s] INFO linkerd2_proxy: release {version} (abc) by x"
    return f"#!/bin/sh\necho '{said}'\nexit {exit_code}\n".encode()


def tar(files: Mapping[str, bytes | tarfile.TarInfo], mode: str = "w:gz") -> bytes:
    """`files`: content by name; or a member of another kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def release(folder: Path, version: str = "2.366.0", binary: bytes | None = None) -> tuple[Path, str]:
    """A tarball as linkerd2-proxy's releases are, and its hash."""
    name = f"linkerd2-proxy-v{version}-linux-{HERE}"
    path = folder / f"{name}.tar.gz"
    path.write_bytes(tar({f"{name}/LICENSE": b"text", f"{name}/linkerd2-proxy": binary or program()}))
    return path, sha256(path.read_bytes())


def layout(folder: Path, layers: Sequence[bytes], *, architecture: str = HERE, nested: bool = False) -> str:
    """An OCI image layout with these layers (tars); its manifest's digest."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(content: bytes) -> dict[str, Any]:
        (blobs / sha256(content)).write_bytes(content)
        return {"digest": f"sha256:{sha256(content)}", "size": len(content)}

    def described(value: object, kind: str) -> dict[str, Any]:
        return put(json.dumps(value).encode()) | {"mediaType": f"application/vnd.oci.image.{kind}.v1+json"}

    manifest = described({"schemaVersion": 2, "layers": [put(layer) for layer in layers]}, "manifest")
    entry = manifest | {"platform": {"architecture": architecture, "os": "linux"}}
    if nested:
        other = manifest | {"platform": {"architecture": ELSEWHERE, "os": "linux"}}
        entry = described({"schemaVersion": 2, "manifests": [other, entry]}, "index")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(manifest["digest"]).removeprefix("sha256:")


def image(binary: bytes = b"", version: str = "v2.366.0\n") -> list[bytes]:
    """The layers of an image like linkerd/proxy: a base, and then the proxy."""
    proxy = {IN_IMAGE: binary or program(), VERSION_IN_IMAGE: version.encode()}
    return [tar({"etc/os-release": b"x"}), gzip.compress(tar(proxy, "w"))]


def packed(folder: Path, path: Path) -> str:
    """The layout as one tar; its hash."""
    with tarfile.open(path, "w") as archive:
        archive.add(folder, arcname=".")
    return sha256(path.read_bytes())
