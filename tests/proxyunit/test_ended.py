"""What root records of the end of a proxy, and whether it counts as a crash at the next start."""

import time
from pathlib import Path

import pytest

from agent.core import crashes, prepared
from agent.host import Host
from agent.privileged.system import programs
from agent.privileged.units import proxy
from agent.proxyunit import crash_count, ended
from agent.proxyunit import prepared as reader


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose systemd does what it is asked, and whose proxy began just now after three crashes."""
    monkeypatch.setattr(reader, "tested_path", lambda _prefix, _words: 0)
    monkeypatch.setattr(proxy, "_bring_grace", lambda _prefix, _unit: None)
    monkeypatch.setattr(proxy, "_enqueue", lambda _verb, _unit: {})
    monkeypatch.setattr(proxy, "addresses", lambda _prefix, _slot: {})
    monkeypatch.setattr(programs, "there", lambda _guard: None)
    Host(tmp_path).prepared.mkdir(parents=True)
    crash_count.begin(tmp_path, 3)
    return tmp_path


def counted_after(prefix: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> int:
    for name, value in zip(("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"), how.split(), strict=True):
        monkeypatch.setenv(name, value)
    assert ended.main(str(prefix)) == 0
    return crash_count.counted(prefix, Host(prefix).prepared / prepared.ENDED)


@pytest.mark.parametrize(
    ("how", "count"), [("success exited 0", 4), ("success killed TERM", 0), ("exit-code exited 3", 4)]
)
def test_an_end_that_nobody_asked_for_is_a_crash(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, how: str, count: int
) -> None:
    assert counted_after(prefix, monkeypatch, how) == count


@pytest.mark.parametrize(("how", "count"), [("success exited 0", 0), ("exit-code exited 3", 4)])
def test_a_stop_by_the_helper_soon_after_the_start_is_none(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, how: str, count: int
) -> None:
    """Without this, each of several replacements in a row would delay the next one longer."""
    proxy.stop(prefix, "main")
    assert counted_after(prefix, monkeypatch, how) == count
    assert not (Host(prefix).prepared / prepared.ASKED).exists()


def test_a_stop_says_nothing_of_the_next_proxy(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It found none that ran, or the standby's."""
    proxy.stop(prefix, "main")
    proxy.start(prefix, "main")
    proxy.stop(prefix, "standby")
    assert counted_after(prefix, monkeypatch, "success exited 0") == 4


def test_how_a_stop_is_recorded_can_be_read(prefix: Path) -> None:
    end = crashes.read_end(f"7.5 {prepared.STOPPED}\n")
    assert end == (7.5, "success", "killed", "TERM")


@pytest.mark.parametrize(("every", "pauses"), [(0.1, 1), (0.7, 1), (1.0, 0), (60.0, 0)])
def test_ends_that_no_start_delays_are_followed_by_a_pause(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, every: float, pauses: int
) -> None:
    """A start program that is killed before it counts, or cannot be loaded."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    record = Host(prefix).prepared / prepared.ENDED
    for number in range(20, 0, -1):
        ends = record.read_text() if record.exists() else ""
        record.write_text(prepared.with_end(ends, f"{now - number * every} signal killed KILL"))
    counted_after(prefix, monkeypatch, "signal killed KILL")
    assert len(slept) == pauses


def test_an_end_after_a_few_others_has_no_pause(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", pytest.fail)
    for _ in range(12):
        counted_after(prefix, monkeypatch, "signal killed KILL")


def test_what_is_not_done_is_told_from_a_program_that_cannot_begin(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "tested_path", lambda _prefix, _words: 1)
    assert ended.main(str(prefix)) == 69
