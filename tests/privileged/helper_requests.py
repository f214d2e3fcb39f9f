"""The privileged helper as a program: one request, one answer."""

import json
import subprocess
from pathlib import Path

from agent.adapters.helper import PROGRAM
from tests.lab import reached_reasons
from tests.privileged.hosts import Host

REPOSITORY = Path(__file__).parents[2]


def start(host: Host, *around: str) -> "subprocess.Popen[bytes]":
    command = host.space.command(*around, *PROGRAM, "--prefix", str(host.prefix))
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env={"PYTHONPATH": str(REPOSITORY)})


def ask(host: Host, request: bytes | dict[str, str], *around: str) -> tuple[int, dict[str, object]]:
    """(exit code, answer)"""
    line = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
    with start(host, *around) as helper:
        output, errors = helper.communicate(line, timeout=30)
    assert errors == b""
    assert output.endswith(b"\n")
    answer: dict[str, object] = json.loads(output)
    reached_reasons.answered(answer.get("reason"))
    return helper.returncode, answer


def apply(inbound: str, outbound: str) -> dict[str, str]:
    return {"verb": "redirect set", "inbound": inbound, "outbound": outbound}


CHECK = {"verb": "redirect check"}
REMOVE = {"verb": "redirect remove"}
