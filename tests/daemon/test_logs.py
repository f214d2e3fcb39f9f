"""The log: what stands in an entry, what it is searched by, and that it stays within bounds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from agent.adapters.journal import Journal, encode, is_journal
from agent.core.reasons import Reason, component
from agent.daemon import logs

LINE = {
    "event": "IdentityExpired: the SVID has expired",
    "level": "warning",
    "timestamp": "2026-01-01T00:00:00Z",
    "reason": "IdentityExpired",
    "component": "identity",
    "workload": "shop/db-1",
    "detail": "2 s ago",
}


def test_an_entry_is_for_people_first_and_for_queries_too() -> None:
    (fields,), _ = logs.journal_fields(None, "warning", dict(LINE))
    assert fields == {
        "MESSAGE": "IdentityExpired: the SVID has expired detail='2 s ago'",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "fairlead",
        "FAIRLEAD_REASON": "IdentityExpired",
        "FAIRLEAD_COMPONENT": "identity",
        "EXTERNAL_WORKLOAD": "shop/db-1",
        "FAIRLEAD_DETAIL": "2 s ago",
    }


def test_text_has_time_level_and_what_is_new() -> None:
    said = logs.text(None, "warning", {**LINE, "exception": "Traceback …"})
    first, second = said.splitlines()
    assert first == "2026-01-01T00:00:00Z warning IdentityExpired: the SVID has expired detail='2 s ago'"
    assert second == "Traceback …"


def test_a_value_of_several_lines_keeps_them() -> None:
    assert encode({"A": "one", "B": "x\ny"}) == b"A=one\nB\n\x03\0\0\0\0\0\0\0x\ny\n"


def test_entries_reach_the_journal_and_never_wait(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    journal = Journal(path)
    with pytest.raises(FileNotFoundError):
        journal.send({"MESSAGE": "nobody there"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(path)
        journal.send({"MESSAGE": "heard", "LONG": "x" * 1_000_000})
        assert journald.recv(1 << 20).startswith(b"MESSAGE=heard\nLONG=xxx")
        with pytest.raises(BlockingIOError):
            for _ in range(100_000):
                journal.send({"MESSAGE": "too much"})
    journal.close()


def test_only_the_descriptor_that_systemd_connected_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        found = os.fstat(file.fileno())
        assert is_journal(file.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_journal(file.fileno(), {"JOURNAL_STREAM": "1:2"})
        assert not is_journal(file.fileno(), {})


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_about_a_component(reason: Reason) -> None:
    assert component(reason) in {"agent", "identity", "proxy", "redirect", "probe", "workload"}
    assert component(Reason.WORKLOAD_API_DENIED) == "identity" and component(Reason.HOST_READY) == "agent"


def test_a_flood_is_cut_and_counted() -> None:
    now = 0.0
    budget = logs.Budget(lambda: now)
    passed = 0
    for _ in range(1000):
        try:
            budget(None, "info", {"event": "again"})
        except structlog.DropEvent:
            continue
        passed += 1
    assert passed == logs.BURST
    now = 2 / logs.STEADY
    assert budget(None, "info", {"event": "again"})["dropped"] == 1000 - logs.BURST
    assert "dropped" not in budget(None, "info", {"event": "again"})
    with pytest.raises(structlog.DropEvent):
        budget(None, "info", {"event": "again"})


def test_json_on_request() -> None:
    program = (
        "import structlog; from agent.daemon import logs; logs.configure(json=True, workload='shop/db-1')\n"
        "structlog.get_logger().warning('said', reason='X', component='proxy')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ}
    )
    found = json.loads(done.stderr)
    assert found.pop("timestamp")
    assert found == {
        "event": "said",
        "reason": "X",
        "component": "proxy",
        "level": "warning",
        "workload": "shop/db-1",
    }
