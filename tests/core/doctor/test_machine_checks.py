"""Judgements about the machine: each in a situation that passes and in one that fails."""

from typing import Any

import pytest

from agent.core.doctor import machine
from agent.core.doctor.check import Outcome, Result
from agent.core.doctor.machine import Agent, Disk, Used, Versions

OK, WARN, FAIL = Result.OK, Result.WARN, Result.FAIL


def status(published: str, *problems: tuple[str, str]) -> dict[str, Any]:
    named = [
        {"reason": reason, "severity": severity, "text": f"{reason} is so", "detail": "", "remedy": "do it"}
        for reason, severity in problems
    ]
    return {"headline": "Ready: x", "ready": {"status": published}, "problems": named}


CASES: dict[str, tuple[Outcome, Result, str]] = {
    "agent": (machine.agent(Agent(status("True"))), OK, "Ready: x"),
    "agent-dead": (machine.agent(Agent(None, "/run/x: refused")), FAIL, "/run/x: refused"),
    "ready": (machine.ready(Agent(status("True"))), OK, "Ready=True"),
    "ready-not": (machine.ready(Agent(status("False"))), WARN, "Ready=False"),
    "ready-warned": (machine.ready(Agent(status("True", ("StatusEdited", "warn")))), WARN, "[StatusEdited]"),
    "ready-failed": (
        machine.ready(Agent(status("False", ("RestartPending", "warn"), ("ProbeFailing", "fault")))),
        FAIL,
        "[ProbeFailing]",
    ),
    "versions": (machine.versions(Versions("1.0", "1.0", "2.366.0", "2.366.0")), OK, "fairlead 1.0"),
    "versions-dead": (machine.versions(Versions("1.0", "", "", "")), OK, "fairlead 1.0"),
    "versions-agent": (machine.versions(Versions("1.1", "1.0", "", "")), WARN, "1.1 is installed"),
    "versions-proxy": (
        machine.versions(Versions("1.0", "1.0", "2.366.0", "2.367.0")),
        WARN,
        "the running proxy is 2.366.0",
    ),
    "versions-edited": (
        machine.versions(Versions("1.0", "1.0", "2.366.0", "2.366.0", edited=True)),
        WARN,
        "before the last edit",
    ),
    "disk": (machine.disk(Disk("/var/lib/fairlead", 1 << 30, 5000)), OK, "1024 MiB left"),
    "disk-no-inodes": (machine.disk(Disk("/var/lib/fairlead", 1 << 30, -1)), OK, "1024 MiB left"),
    "disk-full": (machine.disk(Disk("/var/lib/fairlead", 1 << 20, 5000)), FAIL, "1 MiB and 5000 inodes left"),
    "disk-inodes": (machine.disk(Disk("/var/lib/fairlead", 1 << 30, 3)), FAIL, "3 inodes left"),
    "disk-read-only": (machine.disk(Disk("/x", 1 << 30, 5000, writable=False)), FAIL, "read-only"),
    "limits": (machine.limits(Used({"connection tracking": (10, 100)})), OK, "10 of 100"),
    "limits-near": (machine.limits(Used({"connection tracking": (95, 100)})), WARN, "95 of 100"),
    "limits-reached": (machine.limits(Used({"memory of the proxy": (100, 100)})), FAIL, "memory of the proxy"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_judgement_names_what_it_saw(name: str) -> None:
    outcome, result, words = CASES[name]
    assert outcome.result is result and words in outcome.why
    assert bool(outcome.fix) == (result is not OK)
