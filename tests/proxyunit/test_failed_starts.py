"""Why the proxy is not started yet, as the pause before its next start leaves it for the agent."""

from pathlib import Path

import pytest

from agent.core import crashes, gate_record, prepared
from agent.core.reasons import Fault, Reason
from agent.host import Host
from agent.privileged.proxy.launch import Launch
from agent.proxyunit import crash_count, failed_starts, launcher

RECORD = Host().gate.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / crash_count.STARTS).write_text(crashes.written(2, 100.0))
    return tmp_path


def recorded(folder: Path) -> Fault | None:
    return gate_record.read((folder / RECORD).read_text())


@pytest.fixture
def meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Fault | None]:
    """What stands there during each pause."""
    found: list[Fault | None] = []
    monkeypatch.setattr("time.sleep", lambda seconds: found.append(recorded(folder)))
    return found


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("exit-code exited 127", Reason.PROXY_BINARY_UNUSABLE),
        ("exit-code exited 64", Reason.PROXY_CONFIGURATION_REFUSED),
        ("exit-code exited 101", Reason.PROXY_PANICKED),
        ("oom-kill killed KILL", Reason.PROXY_OUT_OF_MEMORY),
        ("signal killed KILL", Reason.PROXY_KILLED),
        ("success exited 0", Reason.PROXY_CRASHED),
        ("nonsense", Reason.PROXY_CRASHED),
    ],
)
def test_the_pause_names_how_the_last_one_ended(
    folder: Path, meanwhile: list[Fault | None], how: str, reason: Reason
) -> None:
    (folder / prepared.ENDED).write_text(f"101.0 {how}\n")
    failed_starts.pause(folder, folder / prepared.ENDED)
    [found] = meanwhile
    assert not (folder / RECORD).exists()
    assert found is not None and found.reason is reason
    assert "3 in a row; the next start in" in found.detail


def test_what_the_launcher_said_is_more_exact_than_its_exit_code(
    folder: Path, meanwhile: list[Fault | None]
) -> None:
    missing = Launch("/no/such/linkerd2-proxy", {}, 0)
    for count in (3, 4):
        assert launcher.execute(missing, folder) == 127
        (folder / prepared.ENDED).write_text("101.0 exit-code exited 127\n")
        (folder / crash_count.STARTS).write_text(crashes.written(count - 1, 100.0))
        failed_starts.pause(folder, folder / prepared.ENDED)
        found = meanwhile[-1]
        assert found is not None and found.reason is Reason.PROXY_BINARY_UNUSABLE
        assert found.detail.startswith(f"/no/such/linkerd2-proxy: No such file or directory; {count} in a row;")


def test_a_file_that_is_no_program_is_named(folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "linkerd2-proxy"
    program.write_text("no program")
    assert launcher.execute(Launch(str(program), {}, 0), folder) == 126
    found = recorded(folder)
    assert found is not None and found.detail == f"{program}: Permission denied"


def test_only_a_missing_entry_is_a_missing_entry() -> None:
    entry = {Reason.WORKLOAD_API_DENIED, Reason.IDENTITY_UNEXPECTED}
    for reason in (*entry, Reason.TRUST_ANCHORS_UNUSABLE, Reason.IDENTITY_UNTRUSTED, Reason.WORKLOAD_API_ABSENT):
        found = gate_record.awaited(Fault(reason, "why"))
        assert found.reason is (Reason.PROXY_IDENTITY_MISSING if reason in entry else reason)
        assert found.detail.endswith("why")


def test_an_end_is_counted_once(folder: Path, meanwhile: list[Fault | None]) -> None:
    """The record of it stays: the next start after a reboot of the unit does not count it again."""
    (folder / prepared.ENDED).write_text("101.0 signal killed KILL\n")
    for _ in range(2):
        failed_starts.pause(folder, folder / prepared.ENDED)
        assert (folder / crash_count.STARTS).read_text().startswith("3 ")
    assert len(meanwhile) == 2, "each start after a third crash waits"


def test_the_first_crash_is_followed_by_a_start_at_once(folder: Path, meanwhile: list[Fault | None]) -> None:
    (folder / crash_count.STARTS).write_text(crashes.written(0, 100.0))
    (folder / prepared.ENDED).write_text("101.0 signal killed KILL\n")
    failed_starts.pause(folder, folder / prepared.ENDED)
    assert meanwhile == []
    assert (folder / crash_count.STARTS).read_text().startswith("1 ")
