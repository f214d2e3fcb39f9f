"""Only files that root alone can have written are read, and writes are atomic."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.privileged import Refusal
from agent.privileged.system import files


@pytest.fixture
def policy(root: None, tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    path = folder / "fairlead.toml"
    path.write_text("x = 1")
    path.chmod(0o644)
    return path


def refused(path: Path) -> str:
    with pytest.raises(Refusal) as caught:
        files.read(path)
    return caught.value.detail


def test_roots_file_is_read(policy: Path) -> None:
    assert files.read(policy) == "x = 1"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_is_not_trusted(policy: Path, mode: int) -> None:
    policy.chmod(mode)
    assert refused(policy) == f"cannot trust {policy}: users other than its owner may write it"


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_nor_is_one_in_a_directory_that_others_may_write(policy: Path, mode: int) -> None:
    policy.parent.chmod(mode)
    assert refused(policy) == f"cannot trust {policy.parent}: users other than its owner may write it"


def test_nor_one_that_belongs_to_somebody_else(policy: Path) -> None:
    os.chown(policy, 2101, 0)
    assert refused(policy) == f"cannot trust {policy}: it belongs to uid 2101, not to root"
    os.chown(policy, 0, 0)
    os.chown(policy.parent, 2101, 0)
    assert refused(policy) == f"cannot trust {policy.parent}: it belongs to uid 2101, not to root"


def test_nor_what_a_link_leads_to(policy: Path) -> None:
    other = policy.with_name("other")
    policy.rename(other)
    os.chown(other, 2101, 0)
    policy.symlink_to(other)
    assert "belongs to uid 2101" in refused(policy)


def test_what_cannot_be_read_is_named(policy: Path) -> None:
    policy.write_bytes(b"\xff")
    assert refused(policy) == f"cannot read {policy}: not UTF-8"
    policy.write_bytes(b"#" * (files.MOST + 1))
    assert "longer than" in refused(policy)
    policy.unlink()
    assert refused(policy) == f"cannot read {policy}: No such file or directory"
    policy.mkdir()
    assert refused(policy) == f"cannot read {policy}: Is a directory"


def test_a_file_is_replaced_whole(root: None, tmp_path: Path) -> None:
    path = tmp_path / "var/lib/fairlead/phase"
    files.write(path, "left\n")
    before = path.open()
    files.write(path, "member\n")
    assert (before.read(), path.read_text()) == ("left\n", "member\n")
    assert path.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in path.parent.iterdir()] == ["phase"]
    before.close()


def test_what_a_crash_left_behind_is_no_hindrance(root: None, tmp_path: Path) -> None:
    path = tmp_path / "phase"
    path.with_name("phase.new").write_text("a longer text than the new one\n")
    files.write(path, "left\n")
    assert path.read_text() == "left\n"


def test_nothing_is_written_where_others_could_have_put_a_link(root: None, tmp_path: Path) -> None:
    folder = tmp_path / "lib"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(Refusal, match="users other than its owner"):
        files.write(folder / "phase", "left\n")
    folder.chmod(0o755)
    (folder / "phase.new").symlink_to(tmp_path / "victim")
    with pytest.raises(Refusal, match="cannot write"):
        files.write(folder / "phase", "left\n")
    assert not (tmp_path / "victim").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/fairlead-helper.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(Refusal, match="cannot lock"), files.lock(tmp_path):
        pass
    assert not (tmp_path / "victim").exists()


def test_whatever_the_mask_the_agent_can_read_what_was_written(root: None, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.write(tmp_path / "phase", "left\n")
    finally:
        os.umask(before)
    assert (tmp_path / "phase").stat().st_mode & 0o777 == 0o644


def test_two_helpers_never_write_at_once(root: None, tmp_path: Path) -> None:
    """The second waits; it continues when the first has ended, however it ended."""
    program = "import sys, pathlib; from agent.privileged.system import files\n"
    program += "with files.lock(pathlib.Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env={**os.environ}) as first:
        assert first.stdout and first.stdout.readline() == b"in\n"
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, env={**os.environ}) as second:
            assert second.stdout
            while f"-> FLOCK  ADVISORY  WRITE {second.pid} " not in Path("/proc/locks").read_text():
                assert second.poll() is None
            first.kill()
            assert second.stdout.readline() == b"in\n"
