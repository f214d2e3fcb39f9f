"""The verbs that wait for the agent, against agents that never get anywhere: each ends at its deadline."""

import argparse
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.cli import main
from agent.cli.kit import client as clients
from agent.cli.kit import until
from agent.cli.kit.client import Client
from agent.cli.kit.exits import Exit, Failure
from agent.cli.kit.replacement import ENDS, follow_replacement
from agent.core import replacement
from agent.host import Host
from tests.cli.test_cli import EXAMPLE

SECONDS = 30.0
CLI = Path(main.__file__).parent


class Clock:
    """Time that passes only while a caller waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


class Agent:
    """Gives the same answer to each request, after `wait`; with `failure` it gives that."""

    def __init__(self, clock: Clock, replacement: dict[str, str] | None, failure: Failure | None = None) -> None:
        self.clock, self.failure, self.requests = clock, failure, 0
        self.answer: dict[str, Any] = {
            "facts": {"replacement": replacement, "slices": "unknown", "proxy": "unknown"},
            "version": 1,
            "configuration": 1,
            "headline": "waits",
            "phase": "member",
            "ready": {"status": "False"},
            "goals": {"advertise": "no"},
            "problems": [],
            "conditions": [],
            "drained": False,
        }

    def status(self, after: int | None = None, wait: float = 60.0, within: float = 0.0) -> dict[str, Any]:
        self.requests += 1
        assert self.clock.now <= 1000.0 + SECONDS, "it asks after its deadline"
        assert self.requests <= 100, "it asks for ever"
        assert self.clock.now + within <= 1000.0 + SECONDS + until.ANSWER
        if self.failure is not None:
            raise self.failure
        self.clock.now += 0.0 if after is None else wait
        return self.answer

    def phase(self, phase: str) -> dict[str, Any]:
        return self.answer

    def order(self, name: str, **words: str | bool) -> dict[str, Any]:
        nothing: dict[str, list[str]] = {"problems": [], "proxy": [], "redirect": []}
        return {**nothing, "changed": ["drain.settle"], "count": 1, "restarting": False}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    for module in ("kit.until", "kit.follow", "proxy_agent", "wait", "reload"):
        monkeypatch.setattr(f"agent.cli.{module}.time", found)
    return found


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    (tmp_path / "etc/fairlead").mkdir(parents=True)
    (tmp_path / "etc/fairlead/fairlead.toml").write_text(EXAMPLE.read_text())
    return str(tmp_path)


def _method(of_agent: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _client, *args, **words: of_agent(*args, **words)


def _verb(monkeypatch: pytest.MonkeyPatch, agent: Agent, verb: str, prefix: str) -> int:
    for name in ("status", "phase", "order"):
        monkeypatch.setattr(clients.Client, name, _method(getattr(agent, name)))
    return main.main([verb, "--prefix", prefix, "--timeout", f"{SECONDS:g}"])


@pytest.mark.parametrize("verb", ["wait", "reload", "drain", "undrain"])
def test_a_verb_ends_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clock: Clock, verb: str, prefix: str
) -> None:
    """The agent answers, and nothing changes."""
    agent = Agent(clock, None)
    assert _verb(monkeypatch, agent, verb, prefix) == Exit.LATE
    assert clock.now == 1000.0 + SECONDS and agent.requests > 1
    assert "cannot" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["wait", "reload"])
def test_a_verb_waits_for_an_agent_no_longer_than_its_deadline(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, verb: str, prefix: str
) -> None:
    agent = Agent(clock, None, Failure(Exit.UNAVAILABLE, "no agent is running"))
    assert _verb(monkeypatch, agent, verb, prefix) == Exit.UNAVAILABLE
    assert clock.now >= 1000.0 + SECONDS - until.RETRY and agent.requests > 1


@pytest.mark.parametrize("stage", [None, "leaving", "starting", "done"])
def test_a_replacement_is_followed_no_longer_than_asked(clock: Clock, stage: str | None) -> None:
    """Whether the agent has a record of it, or cannot read the one that it has."""
    agent = Agent(clock, None if stage is None else {"stage": stage, "detail": ""})
    args = argparse.Namespace(timeout=SECONDS, no_wait=False, json=False)
    with pytest.raises(Failure) as caught:
        follow_replacement(cast(Client, agent), agent.answer, args, "restart the proxy", clock.now + SECONDS)
    assert caught.value.code is Exit.LATE and clock.now == 1000.0 + SECONDS


@pytest.mark.parametrize("end", [stage for stage in replacement.Stage if stage in replacement.ENDS][1:])
def test_every_end_of_a_replacement_but_one_is_a_failure_at_once(clock: Clock, end: replacement.Stage) -> None:
    assert ENDS[0] == replacement.Stage.DONE.value and {*ENDS} == {stage.value for stage in replacement.ENDS}
    agent = Agent(clock, {"stage": end.value, "detail": "", "wanted": "", "previous": ""})
    args = argparse.Namespace(timeout=SECONDS, no_wait=False, json=False)
    with pytest.raises(Failure) as caught:
        follow_replacement(cast(Client, agent), agent.answer, args, "restart the proxy", clock.now + SECONDS)
    assert caught.value.code is Exit.FAILED and clock.now == 1000.0


def test_an_agent_that_answers_nothing_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    """It accepts the connection and is stopped: the client's own timeout is longer than the verb's."""
    path = Host(tmp_path).socket
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        asked = until.statuses(Client(str(tmp_path), "wait", timeout=3600.0), time.monotonic() - until.ANSWER)
        with pytest.raises(Failure, match="the agent does not answer"):
            next(asked)


@pytest.mark.parametrize(("seconds", "timeout"), [("5", 15.0), ("600", until.LONGEST), ("-1", until.ORDER)])
@pytest.mark.parametrize("words", ["drain", "leave", "join", "undrain", "reload", "proxy restart"])
def test_an_order_that_is_not_answered_is_given_up_soon_after_the_deadline(
    monkeypatch: pytest.MonkeyPatch, prefix: str, words: str, seconds: str, timeout: float
) -> None:
    asked: list[float] = []

    def ask(_client: Client, method: str, target: str, body: object, until: float) -> dict[str, Any]:
        asked.append(until - 1000.0)
        raise Failure(Exit.UNAVAILABLE, "the agent does not answer")

    monkeypatch.setattr(clients.Client, "_ask_once", ask)
    monkeypatch.setattr(clients, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    verb, *more = words.split()
    options = ["--prefix", prefix]
    assert main.main([verb, *options, *more, "--timeout", seconds]) == Exit.UNAVAILABLE
    assert asked == [timeout]


def test_no_other_loop_asks_the_agent() -> None:
    """`status --watch` has no deadline; every other verb that waits asks through `until`."""
    asking = {path.name for path in CLI.rglob("*.py") if "after=" in path.read_text()}
    assert asking == {"until.py", "status.py", "client.py"}
