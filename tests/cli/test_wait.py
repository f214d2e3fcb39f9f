"""fairlead wait: for proxy and redirect, across restarts of the agent, and not longer than its timeout."""

from pathlib import Path
from typing import Any

import pytest

from agent.cli import main, wait
from agent.cli.kit import client, until
from agent.cli.kit.exits import Exit, Failure
from tests.cli.test_cli import EXAMPLE, run

SERVES = {"ProxyReady": "True", "RedirectActive": "True", "ProbesPassing": "False"}


def status(phase: str = "member", **conditions: str) -> dict[str, Any]:
    listed = [{"type": name, "status": value} for name, value in conditions.items()]
    return {"version": 1, "phase": phase, "headline": "Not ready: …", "conditions": listed}


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    file = tmp_path / "etc/fairlead/fairlead.toml"
    file.parent.mkdir(parents=True)
    file.write_text(EXAMPLE.read_text())
    return str(tmp_path)


@pytest.mark.parametrize(
    ("found", "good"),
    [
        (status(**SERVES), True),
        (status("drained", **SERVES), True),
        (status(**{**SERVES, "RedirectActive": "Unknown"}), False),
        (status(**{**SERVES, "ProxyReady": "False"}), False),
        (status(), False),
        (status("left"), True),
    ],
)
def test_what_is_waited_for(found: dict[str, Any], good: bool) -> None:
    assert wait.as_intended(found) is good


def test_an_agent_that_is_not_there_yet_and_one_that_is_not_ready_are_waited_for(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Failure(Exit.UNAVAILABLE, "cannot wait: no agent is running")
    answers: list[Failure | dict[str, Any]] = [absent, status(), absent, status(**SERVES)]

    def answer(*_: object, **__: object) -> dict[str, Any]:
        found = answers.pop(0)
        if isinstance(found, Failure):
            raise found
        return found

    monkeypatch.setattr(client.Client, "status", answer)
    monkeypatch.setattr(until, "RETRY", 0.0)
    assert main.main(["wait", "--prefix", prefix]) == 0
    assert answers == []


def test_it_ends(prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "wait", "--prefix", prefix, "--timeout", "0")
    assert code == 69 and "no agent is running" in err
    monkeypatch.setattr(client.Client, "status", lambda *_, **__: status())
    code, _, err = run(capsys, "wait", "--prefix", prefix, "--timeout", "0")
    assert code == 75 and "not as intended after 0 s: Not ready" in err
