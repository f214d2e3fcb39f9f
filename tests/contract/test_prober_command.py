"""Exec probes with real programs, and systemd ones with programs that answer as systemctl was seen to."""

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.adapters import spawn
from agent.adapters.helper import Helper
from agent.adapters.probes import HostProber, jobs
from agent.core.probe import LONGEST_DETAIL, Attempt, ProbeSpec
from tests.contract.probe_servers import Serve, endless_body, hangs, lies, resets, server


async def sh(script: str, timeout: float = 5.0) -> Attempt:
    spec = ProbeSpec("p", "exec", command=("/bin/sh", "-c", script), timeout=timeout)
    return await HostProber().attempt(spec)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo fine", Attempt(True, "exit 0")),
        ("echo no >&2; exit 1", Attempt(False, "/bin/sh: exit 1: no")),
        ("kill -SEGV $$", Attempt(False, "/bin/sh: killed by SIGSEGV: it said nothing")),
        ("cat; exit 3", Attempt(False, "/bin/sh: exit 3: it said nothing")),
        ("sleep 99", Attempt(False, "cannot run /bin/sh: no end within 0.5 s")),
    ],
)
async def test_exit_zero_passes(script: str, found: Attempt) -> None:
    assert await sh(script, timeout=0.5 if "sleep" in script else 5.0) == found


async def test_it_runs_as_the_agents_own_user_with_nothing_of_its_environment() -> None:
    os.environ["FAIRLEAD_TEST"] = "1"
    try:
        assert (await sh(f'test "$(id -u)" = {os.geteuid()} && test -z "$FAIRLEAD_TEST"')).ok
    finally:
        del os.environ["FAIRLEAD_TEST"]


@pytest.mark.parametrize(
    ("program", "cause"), [("/nonexistent", "No such file or directory"), ("/etc/passwd", "Permission denied")]
)
async def test_a_program_that_is_not_there_fails(program: str, cause: str) -> None:
    found = await HostProber().attempt(ProbeSpec("p", "exec", command=(program,)))
    assert found == Attempt(False, f"cannot run {program}: {cause}")


async def test_no_descriptor_left_is_no_verdict() -> None:
    await sh("exit 0")  # all that asyncio opens once is open now
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        found = await sh("exit 0")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found == Attempt(None, "cannot run /bin/sh: Too many open files")


@pytest.mark.parametrize("script", ["yes", "yes >&2", "yes & yes >&2 & wait"])
async def test_a_flood_is_left_standing_and_ended(script: str) -> None:
    """It costs the agent nothing: reading on would keep a core busy."""
    before = time.process_time()
    found = await sh(script, timeout=1.0)
    assert found == Attempt(False, "cannot run /bin/sh: no end within 1 s, and more than 1 MiB of output")
    assert time.process_time() - before < 0.5


async def test_what_a_program_says_is_shown_in_short() -> None:
    found = await sh(f"head -c {spawn.MOST - 1} /dev/zero | tr '\\0' x >&2; exit 1")
    assert found.ok is False and len(found.detail) == LONGEST_DETAIL


# nothing is left behind ------------------------------------------------------------------------------


FAMILIES = {
    "deaf": "trap '' TERM INT HUP; while :; do sleep 1; done",
    "children": "sleep 99 & (sleep 99 & sleep 99) & sleep 99",
    "deaf children": "(trap '' TERM INT HUP; while :; do sleep 1; done) & (trap '' TERM; sleep 99) & wait",
    "orphans": "(sleep 99 & sleep 99 &) ; exit 0",
    "flood": "yes & yes >&2 & wait",
}


@pytest.mark.parametrize("family", FAMILIES)
async def test_the_whole_group_is_killed_at_the_timeout(family: str, tmp_path: Path) -> None:
    """Every process of the family holds a named pipe open, whose reader sees the end when the last is gone."""
    held = tmp_path / "held"
    os.mkfifo(held)
    gone = asyncio.create_task(asyncio.to_thread(held.read_text))
    found = await sh(f"exec 9>{held}; echo started >&9; {FAMILIES[family]}", timeout=0.7)
    assert found.ok is False and "no end within 0.7 s" in found.detail
    async with asyncio.timeout(10):
        assert await gone == "started\n"


async def test_what_a_program_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    gone = asyncio.create_task(asyncio.to_thread(held.read_text))
    assert (await sh(f"exec 9>{held}; echo started >&9; sleep 99 >/dev/null 2>&1 & exit 0")).ok
    async with asyncio.timeout(10):
        assert await gone == "started\n"


async def test_a_program_that_leaves_its_group_holds_up_nothing(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    found = await sh(
        f"setsid sh -c 'echo $$ >{pid}; exec sleep 99' & while ! test -s {pid}; do :; done", timeout=2.0
    )
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert found.ok is False and "no end within" in found.detail


# systemd ---------------------------------------------------------------------------------------------


@pytest.fixture
def systemctl(tmp_path: Path) -> Callable[[str], str]:
    def write(script: str) -> str:
        path = tmp_path / "systemctl"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return write


def answering(load: str, active: str, sub: str) -> str:
    asked = 'test "$*" = "show --property=LoadState,ActiveState,SubState -- db.service" || exit 9'
    return f"{asked}; echo LoadState={load}; echo ActiveState={active}; echo SubState={sub}"


async def unit(systemctl: str, timeout: float = 5.0) -> Attempt:
    return await HostProber(systemctl).attempt(ProbeSpec("p", "systemd", unit="db.service", timeout=timeout))


@pytest.mark.parametrize(
    ("load", "active", "sub", "found"),
    [
        ("loaded", "active", "running", Attempt(True, "db.service is active (running)")),
        ("loaded", "reloading", "reload", Attempt(True, "db.service is reloading (reload)")),
        ("loaded", "inactive", "dead", Attempt(False, "db.service is inactive (dead)")),
        ("loaded", "failed", "failed", Attempt(False, "db.service is failed (failed)")),
        ("loaded", "activating", "auto-restart", Attempt(False, "db.service is activating (auto-restart)")),
        ("not-found", "inactive", "dead", Attempt(False, "there is no unit db.service")),
    ],
)
async def test_states_of_a_unit(
    systemctl: Callable[[str], str], load: str, active: str, sub: str, found: Attempt
) -> None:
    assert await unit(systemctl(answering(load, active, sub))) == found


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'System has not been booted with systemd as init system (PID 1).' >&2; exit 1", "not been booted"),
        ("exec sleep 99", "no end within"),
        ("exit 0", "cannot ask systemd"),
    ],
)
async def test_a_systemd_that_does_not_answer_is_no_verdict(
    systemctl: Callable[[str], str], script: str, said: str
) -> None:
    found = await unit(systemctl(script), timeout=0.5)
    assert found.ok is None and said in found.detail


async def test_no_systemd_at_all_is_said_plainly() -> None:
    assert await unit("/nonexistent/systemctl") == Attempt(None, "there is no systemd on this host")


# no privilege escalation -----------------------------------------------------------------------------------

AGENT = """
import asyncio, os, sys
from agent.adapters import spawn
from agent.adapters.probes import HostProber
from agent.core.probe import ProbeSpec
os.setresuid(7, 7, 7)
if sys.argv[1] == "as the daemon does":
    spawn.gain_nothing()
spec = ProbeSpec("p", "exec", command=("/bin/sh", "-c", "exit $(" + sys.argv[2] + " -u)"), timeout=30.0)
print(asyncio.run(HostProber().attempt(spec)).detail)
"""


@pytest.mark.parametrize(("how", "uid"), [("as the daemon does", 7), ("carelessly", 0)])
def test_a_set_uid_program_gains_nothing(root: None, how: str, uid: int) -> None:
    """It would be root's, and an agent that is not could not kill it at its timeout."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        program = Path(shutil.copy("/usr/bin/id", folder))
        program.chmod(0o4755)
        command = [sys.executable, "-c", AGENT, how, str(program)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout == ("exit 0\n" if uid == 0 else f"/bin/sh: exit {uid}: it said nothing\n")


# units of root's: the real systemd is in test_prober_systemd.py ------------------------------------------


async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)


async def by_unit(path: Path, timeout: float = 5.0) -> Attempt:
    spec = ProbeSpec("p", "exec", unit="fairlead-probe@p.service", timeout=timeout)
    return await jobs.run(spec, Helper("/nonexistent"), str(path))


async def test_a_bus_that_is_not_there_is_no_verdict(tmp_path: Path) -> None:
    found = await by_unit(tmp_path / "bus")
    assert found.ok is None and "No such file" in found.detail


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (hangs, "no answer within 0.3 s"),
        (resets, "cannot ask systemd on"),
        (lies, "cannot ask systemd on"),
        (endless_body, "cannot ask systemd on"),
        (nothing, "hung up"),
    ],
)
async def test_a_bus_that_is_none_is_no_verdict(tmp_path: Path, serve: Serve, said: str) -> None:
    async with server(serve, path=tmp_path / "bus"):
        found = await by_unit(tmp_path / "bus", timeout=0.3)
    assert found.ok is None and said in found.detail
