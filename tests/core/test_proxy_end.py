import pytest

from agent.core import crashes, prepared
from agent.core.proxy_end import (
    CRASHES,
    ended_fault,
    exit_fault,
    lost_a_worker,
    may_lose_workers,
    oom_kills,
    unit_fault,
)
from agent.core.reasons import Reason


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [
        (0, Reason.PROXY_STOPPED, ""),
        (1, Reason.PROXY_FAILED_TO_START, "exit 1"),
        (64, Reason.PROXY_CONFIGURATION_REFUSED, "exit 64"),
        (101, Reason.PROXY_PANICKED, "4143"),
        (126, Reason.PROXY_BINARY_UNUSABLE, "exit 126"),
        (127, Reason.PROXY_BINARY_UNUSABLE, "exit 127"),
        (3, Reason.PROXY_CRASHED, "exit 3"),
        (-9, Reason.PROXY_KILLED, "killed by SIGKILL; if no process sent it, the kernel ran out of memory"),
        (-11, Reason.PROXY_CRASHED, "killed by SIGSEGV"),
        (-40, Reason.PROXY_CRASHED, "killed by signal 40"),
    ],
)
def test_exits(code: int, reason: Reason, told: str) -> None:
    fault = exit_fault(code)
    assert fault.reason is reason
    assert told in fault.detail


# As systemd 252 said them of a unit: Result, ExecMainCode, ExecMainStatus.
@pytest.mark.parametrize(
    ("result", "code", "status", "reason"),
    [
        ("success", 1, 0, Reason.PROXY_STOPPED),
        ("exit-code", 1, 64, Reason.PROXY_CONFIGURATION_REFUSED),
        ("exit-code", 1, 101, Reason.PROXY_PANICKED),
        ("signal", 2, 9, Reason.PROXY_KILLED),
        ("signal", 2, 11, Reason.PROXY_CRASHED),
        ("core-dump", 3, 6, Reason.PROXY_CRASHED),
        ("oom-kill", 2, 9, Reason.PROXY_OUT_OF_MEMORY),
        ("success", 0, 0, Reason.PROXY_CRASHED),
    ],
)
def test_what_systemd_says_of_an_end(result: str, code: int, status: int, reason: Reason) -> None:
    assert unit_fault(result, code, status).reason is reason


# Recorded from the files of a control group.
V2 = "low 0\nhigh 0\nmax 14\noom 2\noom_kill {}\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"


@pytest.mark.parametrize("text", [V2, V1])
@pytest.mark.parametrize("kills", [0, 3])
def test_kills_for_want_of_memory_are_counted(text: str, kills: int) -> None:
    assert oom_kills(text.format(kills)) == kills


def test_a_control_group_without_the_counter_killed_nothing() -> None:
    assert oom_kills("") == 0


@pytest.mark.parametrize(
    ("before", "result", "status", "uptime", "now"),
    [
        (0, "signal", "KILL", 5.0, 1),
        (3, "exit-code", "1", 5.0, 4),
        (3, "signal", "KILL", crashes.STEADY, 0),  # it ran well for long: the count is reset
        (3, "success", "0", 60.0, 0),  # its end was requested
        (3, "success", "0", 1.0, 4),  # its end was not requested
        (3, "success", "TERM", 1.0, 0),  # its start waited, and was stopped
        (3, "signal", "TERM", 1.0, 4),
        (3, "success", "75", 1.0, 3),  # the gate was closed while the host booted, and none was started
    ],
)
def test_crashes_in_a_row(before: int, result: str, status: str, uptime: float, now: int) -> None:
    assert crashes.crashes_now(before, result, uptime, status) == now


KILL, STOP, STEADY = "signal killed KILL", prepared.STOPPED, 100.0 + crashes.STEADY


@pytest.mark.parametrize(
    ("ends", "now"),
    [
        ("", 3),
        (f"99.0 {KILL}", 3),  # counted by the last start
        (f"101.0 {KILL}", 4),
        (
            f"99.0 {KILL}\n101.0 {KILL}\n101.2 {KILL}\n101.4 {KILL}",
            6,
        ),  # two starts were killed before they counted
        (f"101.0 {KILL}\n101.2 {STOP}\n101.4 {KILL}", 1),
        (f"101.0 {KILL}\nnonsense\n{STEADY + 2} {KILL}", 0),
    ],
)
def test_each_end_since_the_last_start_that_counted_counts(ends: str, now: int) -> None:
    assert crashes.counted(3, 100.0, crashes.read_ends(ends)) == now


def test_the_record_of_the_ends_is_bounded_and_enough_for_the_longest_pause() -> None:
    record = ""
    for at in range(100):
        record = prepared.with_end(record, f"{at}.0 {KILL}")
    ends = crashes.read_ends(record)
    assert len(ends) < 20 and ends[-1] == (99.0, "signal", "killed", "KILL")
    assert CRASHES.delay(crashes.counted(0, 50.0, ends) - 2, 0.0) == CRASHES.most / 2


def test_the_count_is_a_whole_record_or_none() -> None:
    assert crashes.read(crashes.written(3, 12.5)) == (3, 12.5)
    for text in ("", "3", "a b", '{"crashes": 2, "began": 100.0}'):
        assert crashes.read(text) is None


@pytest.mark.parametrize(
    ("version", "may"),
    [
        ("2.294.0", True),
        ("2.345.9", True),
        ("2.346.0", False),
        ("2.366.0", False),
        ("3.1.0", False),
        ("own", True),
    ],
)
def test_which_versions_may_lose_workers(version: str, may: bool) -> None:
    assert may_lose_workers(version) is may


def test_the_line_of_a_dead_worker() -> None:
    assert lost_a_worker("[ 12.1s] WARN ThreadId(01) outbound: buffer's worker closed unexpectedly")
    assert not lost_a_worker("[ 12.1s] INFO ThreadId(01) outbound: closed")


# As systemd 252 gave them to ExecStopPost=: $SERVICE_RESULT, $EXIT_CODE, $EXIT_STATUS.
@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        ("12.5 exit-code exited 3\n", Reason.PROXY_CRASHED, "exit 3"),
        ("12.5 exit-code exited 64\n", Reason.PROXY_CONFIGURATION_REFUSED, "exit 64"),
        ("12.5 signal killed SEGV\n", Reason.PROXY_CRASHED, "killed by SIGSEGV"),
        (
            "12.5 oom-kill killed KILL\n",
            Reason.PROXY_OUT_OF_MEMORY,
            "killed by SIGKILL: no memory was left for it",
        ),
        ("12.5 success exited 0\n", Reason.PROXY_CRASHED, "exit 0"),
        ("12.5 timeout  \n", Reason.PROXY_CRASHED, ""),
    ],
)
def test_the_record_of_an_end(line: str, reason: Reason, detail: str) -> None:
    end = crashes.read_end(line)
    assert end is not None and end[0] == 12.5
    fault = ended_fault(*end[1:])
    assert fault.reason is reason and fault.detail.startswith(detail)


@pytest.mark.parametrize("line", ["", "12.5", "soon exit-code exited 3", "\0"])
def test_what_is_no_record_of_an_end(line: str) -> None:
    assert crashes.read_end(line) is None
