"""The redirect by other versions of nft and iptables than this machine's: the suites of its packets and of its
trials, each a run of its own in which the programs of another Debian stand where this machine's do."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.privileged.tools import OTHERS, Tools

pytestmark = pytest.mark.real

REPOSITORY = Path(__file__).parents[2]
# Of each suite what a program's version may change: what it takes, and how it says what the kernel holds.
SUITES = {
    "rules": ("tests/contract/test_redirect_rules.py",),
    "packets": ("tests/contract/test_redirect_packets.py", "-k", "inbound or outbound"),
    "trials": (
        "tests/privileged/test_redirect_transaction.py",
        "-k",
        "confirmed_rules_stay or operator_may or counted",
    ),
    "others": ("tests/privileged/test_foreign_rules.py", "-k", "interface or our_table"),
    "neighbours": ("tests/contract/test_redirect_neighbours.py", "-k", "damage or published_ports_are_found"),
}


@pytest.fixture(params=OTHERS, ids=lambda tools: tools.release)
def tools(request: pytest.FixtureRequest, root: None) -> Tools:
    found: Tools = request.param
    return found


def said(tools: Tools, folder: Path, *argv: str) -> str:
    folder.mkdir()
    done = subprocess.run(
        tools.command(folder, *argv),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_they_that_are_run(tools: Tools, tmp_path: Path) -> None:
    assert said(tools, tmp_path / "tools", "/usr/sbin/nft", "--version").startswith(tools.nft)
    for kind, words in (("nft", "(nf_tables)"), ("legacy", "(legacy)")):
        found = said(tools, tmp_path / f"tools-{kind}", f"/usr/sbin/iptables-{kind}", "--version")
        assert found.startswith(tools.iptables) and words in found


@pytest.mark.parametrize("suite", SUITES)
def test_by_other_versions(tools: Tools, suite: str, tmp_path: Path) -> None:
    """In a process of its own: what a test calls in itself runs the other programs too."""
    # A folder of its own with a short name: the path of a socket has 108 bytes at most.
    with tempfile.TemporaryDirectory(prefix="fl-") as base:
        pytest_ = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={base}/t")
        shown = said(tools, tmp_path / "tools", *pytest_, *SUITES[suite]).splitlines()
    assert " passed" in shown[-1] and "failed" not in shown[-1], shown
