"""The verbs that follow a replacement of the proxy, against an agent that never gets anywhere."""

import argparse
from typing import Any, cast

import pytest

from agent.cli.client import Client
from agent.cli.exits import Exit, Failure
from agent.cli.proxy_agent import follow_replacement, next_status

MOST = 3  # looks that a verb whose time is over may take


class Agent:
    """Says the same to every look."""

    def __init__(self, replacement: dict[str, str] | None) -> None:
        self.looks = 0
        self.status_now = {
            "facts": {"replacement": replacement},
            "version": 1,
            "headline": "waits",
            "phase": "member",
            "ready": {"status": "False"},
            "goals": {"advertise": "no"},
        }

    def status(self, after: int | None = None, wait: float = 60.0) -> dict[str, Any]:
        self.looks += 1
        assert self.looks <= MOST, "it looks for ever"
        return self.status_now


def follow(agent: Agent, timeout: float) -> int:
    args = argparse.Namespace(timeout=timeout, no_wait=False, json=False)
    return follow_replacement(cast(Client, agent), agent.status_now, args, "restart the proxy")


@pytest.mark.parametrize("stage", [None, "leaving", "starting", "done"])
def test_a_replacement_is_followed_no_longer_than_asked(stage: str | None) -> None:
    """Whether the agent has a record of it, or cannot read the one that it has."""
    agent = Agent(None if stage is None else {"stage": stage, "detail": ""})
    with pytest.raises(Failure) as caught:
        follow(agent, timeout=-1.0)
    assert caught.value.code is Exit.LATE


def test_an_agent_that_is_away_is_waited_for_no_longer_than_asked() -> None:
    class Away(Agent):
        def status(self, after: int | None = None, wait: float = 60.0) -> dict[str, Any]:
            super().status()
            raise Failure(Exit.UNAVAILABLE, "no agent is running")

    with pytest.raises(Failure) as caught:
        next_status(cast(Client, Away(None)), None, 0.0)
    assert caught.value.code is Exit.UNAVAILABLE
