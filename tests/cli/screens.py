"""The states of a host for which the screen of `fairlead status` is recorded, and a terminal that shows it.

`python -m tests.cli.screens` writes the records again.
"""

import asyncio
import contextlib
import dataclasses
import fcntl
import os
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.adapters.status_socket import StatusSocket
from agent.core import facts as f
from agent.core import policy, snapshot
from agent.core.attempts import LastAttempt
from agent.core.facts import PhaseKind
from agent.core.replacement import Replacement, Stage
from agent.host import Host
from tests.core import world
from tests.core.test_policy import serving
from tests.core.world import NOW, SPEC, phase

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "screens"
WIDTHS = (80, 120)
_COLOUR = re.compile(r"\x1b\[\d+m")


def workload(status: str, reason: str, hours: float = 3.5) -> f.WorkloadFact:
    """Published for so long, by the clock of this machine: a client tells ages by its own."""
    fact = world.workload("True")
    assert isinstance(fact, f.WorkloadFact) and fact.seen is not None
    since = (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = f.Condition("Ready", status, reason, last_transition_time=since)
    seen = dataclasses.replace(fact.seen, conditions=(ready,))
    return dataclasses.replace(fact, seen=seen, unready_since=None if status == "True" else world.LONG_AGO)


def states() -> Mapping[str, tuple[str, f.Facts]]:
    """Each with its phase."""
    good = dataclasses.replace(
        serving(),
        workload=workload("True", "HostReady"),
        identity=f.IdentityFact(world.SVID, NOW + 3599.5, received_at=NOW, rotates_at=NOW + 1799.5),
        lease=f.LeaseFact(boot_id="boot1", renewed_at=NOW - 4.2),
    )

    def but(**others: Any) -> f.Facts:
        return dataclasses.replace(good, **others)

    silent = world.identity("silent")
    slices = f.SlicesFact(listed=True)
    away = but(workload=workload("False", "Draining"), slices=slices)
    gone = but(
        workload=workload("False", "Left"),
        slices=f.SlicesFact(listed=False, unlisted_since=NOW - 99.0),
        proxy=world.proxy("stopped"),
        redirect=world.redirect("off", "off"),
    )
    return {
        "ready": ("member", good),
        "starting": ("member", f.Facts()),
        "not-ready": ("member", but(probes=world.probes("fail"), workload=workload("False", "ProbeFailing", 0.3))),
        "proxy-stopped": ("member", but(proxy=world.proxy("stopped"))),
        "spire-silent": ("member", but(identity=silent)),
        "workload-missing": ("member", but(workload=world.workload("missing"))),
        "draining": ("drained", but(proxy=world.proxy("ready", flying=3), slices=slices)),
        "drained": ("drained", dataclasses.replace(away, slices=gone.slices)),
        "leaving": ("left", away),
        "left": ("left", gone),
        "shutting-down": ("shutting-down", away),
        "replacing": ("member", but(replacement=Replacement("2.1", "2.0", Stage.STARTING))),
        "went-back": ("member", but(replacement=Replacement("2.1", "2.0", Stage.BACK_AGAIN, "exit 1"))),
    }


def shown(name: str) -> dict[str, Any]:
    kind, facts = states()[name]
    goals = policy.decide(SPEC, phase(kind), facts, NOW).goals
    tried = {"Lease": LastAttempt(NOW - 4.2, NOW + 5.8), "RedirectActive": LastAttempt(NOW - 11.2, NOW + 18.8)}
    return {
        "schema": snapshot.SCHEMA,
        "workload": "shop/db-1",
        "agent": "1.0",
        "version": 7,
        "configuration": 1,
        "proxy_version": "2.366.0",
        **snapshot.snapshot(SPEC, phase(kind), facts, goals, NOW),
        "attempts": snapshot.attempts(tried, NOW),
        "credential": {"kind": "spiffe", "audience": "kubernetes", "expires_at": 119.4},
    }


@contextlib.asynccontextmanager
async def agent(prefix: Path, name: str) -> AsyncIterator[None]:
    async def changed(_version: int, _seconds: float) -> None:
        return

    async def ask(_phase: PhaseKind) -> None:
        return

    path = Host(prefix).socket
    path.parent.mkdir(parents=True, exist_ok=True)
    async with StatusSocket(path, lambda: shown(name), changed, ask).serving():
        yield


async def status(prefix: Path, width: int, *words: str, **environment: str) -> tuple[int, str]:
    return await on_terminal(
        [sys.executable, "-m", "agent", "status", "--prefix", str(prefix), *words], width, **environment
    )


async def on_terminal(command: Sequence[str], width: int, **environment: str) -> tuple[int, str]:
    """Exit code, and what a terminal of that width shows."""
    return await asyncio.to_thread(_on_terminal, command, width, environment)


def _on_terminal(command: Sequence[str], width: int, environment: Mapping[str, str]) -> tuple[int, str]:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, width, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env={**kept, "TERM": "xterm", **environment}
    ) as process:
        os.close(theirs)
        said = bytearray()
        with contextlib.suppress(OSError):  # EIO: the last process with the terminal has ended
            while chunk := os.read(ours, 1 << 16):
                said += chunk
        os.close(ours)
    return process.returncode, said.decode().replace("\r\n", "\n")


def without_colours(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in _COLOUR.sub("", text).splitlines())


async def screen(prefix: Path, name: str, width: int) -> str:
    async with agent(prefix, name):
        _, text = await status(prefix, width)
    return without_colours(text)


def record(name: str, width: int) -> Path:
    return FOLDER / f"{name}-{width}.txt"


async def _write() -> None:
    for name in states():
        for width in WIDTHS:
            with tempfile.TemporaryDirectory() as prefix:
                record(name, width).write_text(await screen(Path(prefix), name, width))


if __name__ == "__main__":
    asyncio.run(_write())
