"""Whether state can be written, and the sockets still exist: on file systems that are full, or read-only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.adapters.folders import HostFolders
from agent.core.reasons import Reason
from agent.ports import Trouble

LOOK = """
import pathlib, sys
from agent.adapters import folders
print(folders.unwritable(pathlib.Path(sys.argv[1])))
"""
IN_A_NAMESPACE = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'


async def test_room_is_no_trouble_and_a_folder_that_is_missing_neither(tmp_path: Path) -> None:
    await HostFolders(tmp_path).look()
    await HostFolders(tmp_path / "not/yet/made").look()


async def test_no_room_is_trouble() -> None:
    with pytest.raises(Trouble) as caught:
        await HostFolders(Path("/proc")).look()  # it has no block at all
    assert caught.value.fault.reason is Reason.STATE_UNWRITABLE
    assert caught.value.detail == "no space is left for /proc"


@pytest.mark.real
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("size=1m", ""),
        ("size=4k", "no space is left for"),
        ("size=1m,nr_inodes=1", "no inode is left for"),
        ("size=1m,ro", "is mounted read-only"),
    ],
)
def test_of_what_is_really_mounted(root: None, tmp_path: Path, options: str, said: str) -> None:
    command = ["unshare", "--mount", "sh", "-euc", IN_A_NAMESPACE, "sh", options, str(tmp_path)]
    command += [sys.executable, "-c", LOOK, str(tmp_path / "agent")]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ}).stdout.strip()
    assert (said in found) if said else (found == "")


async def test_a_socket_that_was_there_must_stay(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.sock", tmp_path / "other.sock"
    mine.touch()
    found = HostFolders(tmp_path, mine, other)  # the other never existed, so it is not missing
    await found.look()
    mine.unlink()
    with pytest.raises(Trouble) as caught:
        await found.look()
    assert caught.value.fault.reason is Reason.SOCKETS_GONE and str(mine) in caught.value.detail
