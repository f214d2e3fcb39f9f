"""The image of `make image`: the same bytes twice, and it runs as the manifests of config/cluster run it."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.watcher import retiring
from tests.watcher.watching import SYSTEM, Fleet, Watcher, manifests

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
PROGRAM = Path(__file__).parents[2] / "packaging/image.py"
ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"
# As a container runtime does: /proc is there, and the root is read-only.
AS_A_POD = """
mount --bind "$1" "$1" && mount --bind /proc "$1/proc" && mount -o remount,ro,bind "$1" && cd / || exit 99
root=$1; shift
exec chroot --userspec="$USER_OF_IT" "$root" "$@"
"""


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("first")), build(tmp_path_factory.mktemp("second"))


def build(into: Path, *more: str) -> Path:
    argv = [sys.executable, str(PROGRAM), "--into", str(into), *more]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    return next(into.glob("*.oci"))


@pytest.fixture(scope="module")
def unpacked(layouts: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unpacked")
    place.chmod(0o755)  # the user of the image has to enter its root
    (packed,) = manifest(layouts[0])["layers"]
    file = blob(layouts[0], packed)
    subprocess.run(["tar", "-xpzf", str(file), "-C", str(place)], check=True, env={**os.environ})
    return place


def blob(layout: Path, descriptor: Mapping[str, Any]) -> Path:
    """Checked as its reader checks it."""
    kind, _, digest = descriptor["digest"].partition(":")
    path = layout.joinpath("blobs", str(kind), str(digest))
    content = path.read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (digest, descriptor["size"])
    return path


def manifest(layout: Path) -> Any:
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (listed,) = json.loads((layout / "index.json").read_text())["manifests"]
    return json.loads(blob(layout, listed).read_text())


def configuration(layout: Path) -> Any:
    return json.loads(blob(layout, manifest(layout)["config"]).read_text())


def content(layout: Path) -> dict[str, bytes]:
    return {str(one.relative_to(layout)): one.read_bytes() for one in layout.rglob("*") if one.is_file()}


def command(layout: Path, root: Path, *words: str) -> list[str]:
    argv = ["unshare", "--mount", "sh", "-c", AS_A_POD, "sh", str(root)]
    return [*argv, *configuration(layout)["config"]["Entrypoint"], *words]


def environment(layout: Path, **more: str) -> dict[str, str]:
    """That of the image; unshare and chroot are found by this run's own path, which the image has no use for."""
    config = configuration(layout)["config"]
    named = dict(one.split("=", 1) for one in config["Env"])
    return {**named, "PATH": os.environ["PATH"], "USER_OF_IT": config["User"], **more}


def test_the_same_bytes_twice(layouts: tuple[Path, Path]) -> None:
    first, second = map(content, layouts)
    assert first == second
    assert len(first) == 5, "index, version, manifest, configuration, one layer"


def test_it_is_what_the_manifest_says(layouts: tuple[Path, Path], unpacked: Path) -> None:
    (deployment,) = [one for one in manifests() if one["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    found = configuration(layouts[0])
    user = pod["securityContext"]
    assert found["config"]["User"] == f"{user['runAsUser']}:{user['runAsGroup']}"
    assert found["config"]["Cmd"] == pod["containers"][0]["args"][:1] == ["watcher"]
    (digest,) = found["rootfs"]["diff_ids"]
    (packed,) = manifest(layouts[0])["layers"]
    tree = subprocess.run(
        ["gzip", "-dc", str(blob(layouts[0], packed))], check=True, capture_output=True, env={**os.environ}
    ).stdout
    assert digest == f"sha256:{hashlib.sha256(tree).hexdigest()}"


def test_no_user_of_it_can_change_it(unpacked: Path) -> None:
    """All is root's; no shell, no set-user-ID program, nothing that another user may write."""
    for path in unpacked.rglob("*"):
        state = path.lstat()
        assert (state.st_uid, state.st_gid) == (0, 0)
        assert path.is_symlink() or not state.st_mode & 0o6022, path
    assert not [*unpacked.glob("**/bin/sh"), *unpacked.glob("**/bin/bash")]
    assert not [*unpacked.rglob("sandbox")]
    inventory = json.loads((unpacked / "usr/share/doc/fairlead/sbom.cdx.json").read_text())
    assert "libc6" in {one["name"] for one in inventory["components"]}


def test_its_entry_point_runs_read_only(layouts: tuple[Path, Path], unpacked: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = command(layouts[0], unpacked, *words)
        return subprocess.run(argv, capture_output=True, text=True, env=environment(layouts[0]))

    version = configuration(layouts[0])["config"]["Labels"]["org.opencontainers.image.version"]
    assert run("--version").stdout == f"fairlead {version}\n"
    outside = run("watcher")
    assert outside.returncode == 69 and "this is not a pod" in outside.stderr, outside.stderr


def test_as_a_pod_it_marks_a_dead_host(
    layouts: tuple[Path, Path], unpacked: Path, fleet: Fleet, token: str, tmp_path: Path
) -> None:
    for name in ("vm-1", "vm-2", "dead"):
        fleet.enrol(name)
    mount_account(unpacked, fleet, token)
    with as_a_pod(layouts[0], unpacked, fleet, tmp_path / "log") as running:
        fleet.renewing("vm-1", "vm-2", until=lambda: fleet.unreachable("dead"))
        assert fleet.ready("vm-1", "vm-2")
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        assert "Uid:\t65532\t65532\t65532\t65532\n" in status
    assert running.process.returncode == 0, running.log.read_text()


def mount_account(root: Path, fleet: Fleet, token: str) -> None:
    """As kubelet does for the pod's ServiceAccount."""
    account = root / ACCOUNT
    account.mkdir(parents=True, exist_ok=True)
    (account / "ca.crt").write_bytes(fleet.server.ca_file.read_bytes())
    (account / "token").write_text(token)


def where(fleet: Fleet) -> dict[str, str]:
    server = urlsplit(fleet.server.url)
    return {"KUBERNETES_SERVICE_HOST": str(server.hostname), "KUBERNETES_SERVICE_PORT": str(server.port)}


@contextmanager
def as_a_pod(layout: Path, root: Path, fleet: Fleet, log: Path) -> Iterator[Watcher]:
    env = environment(layout, POD_NAMESPACE=SYSTEM, **where(fleet))
    words = ("watcher", "--listen=127.0.0.1:0", "--look-every=1", "--shortest=4", "-n", fleet.namespace)
    with log.open("wb") as output:
        process = subprocess.Popen(command(layout, root, *words), stdin=subprocess.DEVNULL, stderr=output, env=env)
    try:
        yield Watcher(process, log)
    finally:
        process.terminate()
        process.wait(10)


def test_as_the_pod_of_the_cron_job_it_retires_an_old_host_and_no_other(
    layouts: tuple[Path, Path], unpacked: Path, fleet: Fleet
) -> None:
    """The command of the manifest as it is, with the rights of the manifest's account."""
    pod = retiring.pod()["spec"]
    (container,) = pod["containers"]
    group = retiring.members(fleet, "old", "silent")
    fleet.enrol("serving")
    retiring.say_due(fleet, group, "old")
    mount_account(unpacked, fleet, retiring.install(fleet))
    env = environment(layouts[0], **where(fleet))
    assert env["USER_OF_IT"] == f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    argv = command(layouts[0], unpacked, *container["args"])
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0 and f"{fleet.namespace}/old has been silent" in done.stderr, done.stderr
    assert retiring.left(fleet, "old") == []
    assert retiring.left(fleet, "silent") == ["workload", "lease", "role", "binding"]
    assert retiring.left(fleet, "serving") == ["workload", "lease"]
