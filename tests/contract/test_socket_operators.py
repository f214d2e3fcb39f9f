"""The rights on the status socket, by real users of a real kernel: readers, operators, root."""

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.status_socket import StatusSocket
from agent.config import derived
from agent.core.facts import PhaseKind
from agent.host import Host
from tests.config.test_derived import of
from tests.lab.reachable import reachable
from tests.lab.socket_client import answered

USER, READERS, OPERATORS = 2109, 2101, 2107
DRAIN, UNDRAIN = ("/v1/phase", '{"phase": "drained"}'), ("/v1/phase", '{"phase": "member"}')
LEAVE, STOP = ("/v1/phase", '{"phase": "left"}'), ("/v1/phase", '{"phase": "shutting-down"}')
RELOAD, RESTART = ("/v1/orders/reload", "{}"), ("/v1/orders/reload", '{"restart_proxy": true}')
UPGRADE, LEVEL = ("/v1/orders/proxy-upgrade", "{}"), ("/v1/orders/proxy-log-level", "{}")
READ = ("/v1/status", "")
EVERY = (READ, DRAIN, UNDRAIN, LEAVE, STOP, RELOAD, RESTART, UPGRADE, LEVEL)


class Agent:
    def __init__(self, host: Host, operators: int | None) -> None:
        self.phase, self.orders = "member", list[str]()
        names = ("reload", "proxy-upgrade", "proxy-log-level")
        orders = dict.fromkeys(names, self._order)
        self.socket = StatusSocket(
            host.socket, self._shot, self._changed, self._ask, orders, operators=lambda: operators
        )

    def _shot(self) -> dict[str, Any]:
        return {"phase": self.phase}

    async def _changed(self, _version: int, _seconds: float) -> None:
        return

    async def _ask(self, phase: PhaseKind) -> None:
        return

    async def _order(self, words: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return None


@pytest.fixture
async def agent(root: None, tmp_path: Path) -> AsyncIterator[tuple[Agent, Path]]:
    reachable(tmp_path)
    host = Host(tmp_path)
    host.agent_run.mkdir(parents=True)
    found = Agent(host, OPERATORS)
    async with found.socket.serving():
        os.chown(host.socket, 0, READERS)
        yield found, host.socket


async def allowed(path: Path, group: int, *groups: int, user: int = USER) -> list[tuple[str, str]]:
    """The requests that are not refused to a process with these groups."""
    answers = []
    for target, body in EVERY:
        method = "POST" if body else "GET"
        answer = await answered(path, method, target, body, user=user, group=group, groups=groups)
        answers += [(target, body)] if answer == "200" else []
        assert answer in ("200", "403"), (target, body, answer)
    return answers


async def test_readers_operators_and_root(agent: tuple[Agent, Path]) -> None:
    _, path = agent
    assert await allowed(path, READERS) == [READ]
    assert await allowed(path, READERS, OPERATORS) == [READ, DRAIN, UNDRAIN, RELOAD]
    assert await allowed(path, OPERATORS, READERS) == [READ, DRAIN, UNDRAIN, RELOAD]
    assert await allowed(path, 0, user=0) == list(EVERY)


async def test_an_operator_brings_no_host_back_that_has_left(agent: tuple[Agent, Path]) -> None:
    found, path = agent
    found.phase = "left"
    assert await allowed(path, READERS, OPERATORS) == [READ, RELOAD]


@pytest.mark.parametrize(("name", "gid"), [("root", 0), ("2107", 2107), ("no-such-group", None)])
def test_the_group_is_that_of_the_configuration(name: str, gid: int | None) -> None:
    assert derived.operators(of()) is None
    assert derived.operators(of('# operators = "ops"', f'operators = "{name}"')) == gid
