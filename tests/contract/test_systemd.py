"""sd_notify and the watchdog's environment, over real sockets."""

import os
import socket
from pathlib import Path

import pytest

from agent.adapters.instance import Held, only_one
from agent.adapters.systemd import SystemdNotifier, watchdog_seconds


@pytest.mark.parametrize("abstract", [False, True])
def test_lines_reach_the_manager(tmp_path: Path, abstract: bool) -> None:
    name = f"@fairlead-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        SystemdNotifier({"NOTIFY_SOCKET": name}).notify("READY=1", "STATUS=all well")
        assert manager.recv(1000) == b"READY=1\nSTATUS=all well"


def test_without_a_manager_it_is_silent() -> None:
    assert SystemdNotifier({}).notify("READY=1") == ""


def test_a_manager_that_is_away_or_reads_nothing_is_no_failure(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    notifier = SystemdNotifier({"NOTIFY_SOCKET": name})
    assert notifier.notify("READY=1") == "No such file or directory"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        sent = 0
        while not (why := notifier.notify(f"STATUS={sent}")):
            sent += 1
        assert why == "Resource temporarily unavailable", "its queue is full, and nobody waits"
        assert [manager.recv(100) for _ in range(sent)] == [f"STATUS={n}".encode() for n in range(sent)]
        assert notifier.notify("READY=1") == "" and manager.recv(100) == b"READY=1"
    assert notifier.notify("READY=1") == "Connection refused"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment) == seconds


def test_only_one_agent(tmp_path: Path) -> None:
    lock = tmp_path / "run/agent.lock"
    with only_one(lock), pytest.raises(Held), only_one(lock):
        pass
    with only_one(lock):
        pass
