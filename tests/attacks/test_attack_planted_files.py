"""The attacker may write a folder in which a program of another user creates files, and puts links there.

What must hold: the program's file is new, and what the link leads to stays as it was.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.adapters import files, instance
from agent.core.reasons import Fault, Reason
from agent.proxyunit import failed_starts

ATTACKER = 2109


def _locked(folder: Path) -> None:
    with (
        pytest.raises(OSError, match="Too many levels of symbolic links"),
        instance.only_one(folder / "agent.lock"),
    ):
        pytest.fail("it opened what the link leads to")


@pytest.mark.parametrize(
    ("planted", "act"),
    [
        (f".token.{os.getpid()}", lambda folder: files.write_atomically(folder / "token", "new", 0o640)),
        (".gate.json", lambda folder: failed_starts.record(folder, Fault(Reason.PROXY_CRASHED))),
        ("agent.lock", _locked),
    ],
    ids=["token", "gate", "lock"],
)
def test_attack_link_in_the_place_of_a_new_file(
    root: None, tmp_path: Path, planted: str, act: Callable[[Path], None]
) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_text("root's alone\n")
    victim.chmod(0o600)
    folder.mkdir()
    os.chown(folder, ATTACKER, ATTACKER)
    (folder / planted).symlink_to(victim)
    act(folder)
    found = victim.stat()
    assert (victim.read_text(), stat.S_IMODE(found.st_mode), found.st_uid) == ("root's alone\n", 0o600, 0)
