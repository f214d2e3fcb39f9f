"""A start of the proxy that is killed, at each of its moments: the next one works, and the kill counts once."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from agent.core import prepared as forms
from agent.core.crashes import written
from agent.host import Host
from agent.proxyunit import crash_count, ended, prepared
from agent.sandbox.identity.workload_api import Entry
from tests.proxyunit.test_at_once import ID, PROXY, ROOT, leave, plan, program, served, started
from tests.proxyunit.test_at_once import host as host

# It says where it is, and waits there until it is killed.
_PROGRAM = """\
import os, signal, sys
import {module} as module
from agent.proxyunit import at_once, gate, launcher, start  # before the change of user
def here(*_, **__):
    print("here", flush=True)
    signal.pause()
module.{name} = here
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
sys.exit(start.main(sys.argv[1]))
"""

# Where, how many starts in a row have crashed before it, and how many are counted then; from the second on there
# is a pause.
MOMENTS = [
    pytest.param("agent.proxyunit.crash_count.counted", 0, 1, id="before it counts"),
    pytest.param("agent.adapters.grpc_client.blocking.first", 0, 1, id="while it asks the Workload API"),
    pytest.param("os.execve", 0, 1, id="before it becomes the proxy"),
    pytest.param("agent.proxyunit.crash_count.counted", 1, 2, id="before it counts, after a crash"),
    pytest.param("time.sleep", 2, 3, id="in the pause"),
]


def end_of_the_unit(host: Path) -> None:
    """As root writes it, by ExecStopPost."""
    how = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "tested_path", lambda _prefix, _words: 0)
        for name, value in how.items():
            patch.setenv(name, value)
        assert ended.main(str(host)) == 0


def crashed(host: Path, times: int) -> None:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    folder = Host(host).proxy_run
    (folder / crash_count.STARTS).write_text(written(max(times - 1, 0), now - 1))
    os.chown(folder / crash_count.STARTS, PROXY, PROXY)
    if times:
        end_of_the_unit(host)


def counted(host: Path) -> int:
    return crash_count.counted(Host(host).proxy_run, Host(host).prepared / forms.ENDED)


async def killed(host: Path, place: str) -> None:
    module, _, name = place.rpartition(".")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM.format(module=module, name=name, uid=PROXY), str(host)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "RUNTIME_DIRECTORY": str(Host(host).proxy_run)},
    )
    assert process.stdout is not None
    while (line := await process.stdout.readline()) != b"here\n":
        assert line, "it has ended before it came there"
    process.kill()
    await process.communicate()
    assert process.returncode == -signal.SIGKILL
    end_of_the_unit(host)


@pytest.mark.parametrize(("place", "before", "after"), MOMENTS)
async def test_the_next_start_works_and_has_counted_the_kill_once(
    root: None, host: Path, place: str, before: int, after: int
) -> None:
    async with served(host, Entry(ID)) as pem:
        leave(host, plan(host, pem, binary=program(host)))
        crashed(host, before)
        await killed(host, place)
        assert counted(host) == after
        said = await started(host)
    if after > 1:  # the second crash in a row: the next start pauses
        assert said == ["tested"]
    else:
        assert said[:2] == [f"usable: {ID} (prepared)", "linkerd2-proxy"]
        assert counted(host) == 1, "once, however often it is looked at"


async def test_starts_that_are_killed_in_a_row_before_they_count_are_all_counted(root: None, host: Path) -> None:
    async with served(host, Entry(ID)) as pem:
        leave(host, plan(host, pem, binary=program(host)))
        crashed(host, 0)
        for times in (1, 2, 3):
            await killed(host, "agent.proxyunit.crash_count.counted")
            assert counted(host) == times
        assert await started(host) == ["tested"]
