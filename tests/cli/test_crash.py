"""A bug ends a verb with one line, exit 70, and a trace where only this user could have put it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli import main
from agent.cli.kit import client
from agent.cli.kit.exits import Exit
from agent.host import Host

ROOT = Path(__file__).parents[2]


def crash(monkeypatch: pytest.MonkeyPatch, prefix: Path) -> int:
    """`fairlead status` meets what nobody expected."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError("an unexpected key")

    monkeypatch.setattr(client.Client, "status", broken)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    return main.main(["status", "--prefix", str(prefix)])


def one_line(said: str) -> str:
    """The file that the line names, or "above"."""
    found = re.fullmatch(
        r"fairlead: cannot finish status: this is a bug: KeyError: 'an unexpected key'; its trace is (.*)\n",
        said,
    )
    assert found, said
    return found[1]


def test_root_finds_the_trace_in_a_folder_of_root(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, root: None
) -> None:
    assert crash(monkeypatch, tmp_path) == 70
    trace = Path(one_line(capsys.readouterr().err))
    assert trace.parent == Host(tmp_path).traces and trace.stat().st_mode & 0o777 == 0o600
    assert trace.read_text().startswith("Traceback") and "in broken" in trace.read_text()


def test_others_find_it_in_their_own_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mine = os.geteuid()
    monkeypatch.setattr("agent.cli.kit.crash._root", lambda: False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert crash(monkeypatch, tmp_path) == Exit.BUG
    trace = Path(one_line(capsys.readouterr().err))
    assert trace.parent == tmp_path / "state/fairlead" and trace.stat().st_uid == mine
    assert trace.parent.stat().st_mode & 0o777 == 0o700


def linked(place: Path, elsewhere: Path) -> None:
    place.symlink_to(elsewhere)


def writable(place: Path, _: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


def owned(place: Path, _: Path) -> None:
    place.mkdir()
    os.chown(place, 65534, 65534)


def a_file(place: Path, _: Path) -> None:
    place.write_text("")


@pytest.mark.parametrize("prepared", [linked, writable, owned, a_file], ids=lambda made: str(made.__name__))
def test_a_folder_that_another_user_prepared_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    root: None,
    prepared: Callable[[Path, Path], None],
) -> None:
    elsewhere, place = tmp_path / "elsewhere", Host(tmp_path).traces
    elsewhere.mkdir()
    place.parent.mkdir(parents=True)
    prepared(place, elsewhere)
    assert crash(monkeypatch, tmp_path) == Exit.BUG
    trace, _, line = capsys.readouterr().err.rpartition("fairlead: ")
    assert one_line(f"fairlead: {line}") == "above" and trace.startswith("Traceback")
    assert not [*elsewhere.iterdir()] and not (place.is_dir() and [*place.iterdir()])


def test_in_a_unit_the_trace_is_in_the_journal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("agent.cli.kit.crash._journal", lambda: True)
    assert crash(monkeypatch, tmp_path) == Exit.BUG
    trace, _, line = capfd.readouterr().err.rpartition("fairlead: ")
    assert one_line(f"fairlead: {line}") == "above" and trace.startswith("Traceback")
    assert not Host(tmp_path).traces.exists()


def test_the_newest_ten_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, root: None
) -> None:
    place = Host(tmp_path).traces
    place.mkdir(parents=True)
    old = [place / f"2020010{day}T000000Z-status-1.trace" for day in range(10)]
    for path in (*old, place / "proxy.log"):
        path.write_text("")
    crash(monkeypatch, tmp_path)
    trace = Path(one_line(capsys.readouterr().err))
    assert {*place.iterdir()} == {*old[1:], place / "proxy.log", trace}


def test_a_reader_that_has_ended_is_no_bug() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "agent", "help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ},
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 128 + 13 and said == b""
