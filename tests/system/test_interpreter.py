"""The tests of the product on the interpreter that the package brings: a user has no other.

The package is unpacked, not installed; what the tests need beside it comes from this checkout and its environment.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.lab.reachable import reachable
from tests.system import built_packages

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
# What needs no development tool. `--no-real`: the rows on the real parts run elsewhere.
SUITES = {
    "core": ("tests/core",),
    "loops": ("tests/loops",),
    "adapters": ("tests/contract", "--no-real"),
    "verbs": ("tests/cli", "tests/config", "tests/daemon", "tests/offline", "tests/proxyunit", "--no-real"),
    "privileged": ("tests/privileged",),
}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    subprocess.run(["dpkg-deb", "-x", str(built_packages.deb()), str(folder)], check=True, env={**os.environ})
    (found,) = (folder / "usr/lib/fairlead").glob("*-*/bin/python")
    reachable(folder)
    return found


@pytest.mark.parametrize("suite", SUITES)
def test_the_packaged_interpreter_passes(python: Path, suite: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(built_packages.ROOT), sysconfig.get_path("purelib")])
    done = subprocess.run(
        [str(python), "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *SUITES[suite]],
        cwd=built_packages.ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert " passed" in done.stdout
