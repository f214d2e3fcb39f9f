"""The tests of the product on the interpreter that the package brings: a user has no other.

The package is unpacked, not installed; what the tests need beside it comes from this checkout and its environment.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.system import built

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
# Files of tests/ that are about the source tree or the tests' own machines, not about the product on a host.
ELSEWHERE = {
    "test_bootstrap.py": "the set-up of a source tree",
    "test_documents.py": "what the package ships, as packaging/ lists it",
    "test_documented_commands.py": "the documents against the source",
    "test_house.py": "development tools",
    "test_house_fakes.py": "the source alone",
    "test_house_spawns.py": "the source alone",
    "test_locks.py": "the lock files, with pip's parser",
    "test_machine.py": "machines that the tests boot",
    "test_realparts.py": "other programs that the tests build",
    "test_shelf.py": "the cache of packaging/",
    "test_units.py": "the unit files; systemd reads them",
}


def _files() -> list[str]:
    """Those of cli, config, offline and the composition roots: a new one is among them."""
    names = {path.name for path in (built.ROOT / "tests").glob("test_*.py")}
    assert names >= ELSEWHERE.keys()
    return [f"tests/{name}" for name in sorted(names - ELSEWHERE.keys())]


# What needs no development tool. `--no-real`: the rows on the real parts run elsewhere.
SUITES = {
    "core": ("tests/core",),
    "loops": ("tests/loops",),
    "adapters": ("tests/contract", "--no-real"),
    "files": (*_files(), "--no-real"),
    "privileged": ("tests/privileged",),
}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    subprocess.run(["dpkg-deb", "-x", str(built.deb()), str(folder)], check=True, env={**os.environ})
    (found,) = (folder / "usr/lib/fairlead").glob("*-*/bin/python")
    for path in (folder, *folder.parents):  # tests become other users
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    return found


@pytest.mark.parametrize("suite", SUITES)
def test_the_packaged_interpreter_passes(python: Path, suite: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(built.ROOT), sysconfig.get_path("purelib")])
    done = subprocess.run(
        [str(python), "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *SUITES[suite]],
        cwd=built.ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert " passed" in done.stdout
