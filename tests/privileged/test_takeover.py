"""The second slot takes over when the process of main dies: by prepared rules, on the kernel, without an agent."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.core import prepared as forms
from agent.core import procfs
from agent.core.slots import Place, Slot
from agent.host import Host as Paths
from agent.proxyunit import prepared
from tests.privileged.helper_requests import REPOSITORY
from tests.privileged.hosts import Host, Listeners
from tests.privileged.levels import BLOCKED, FAILED, NOW, ON, levels
from tests.privileged.slotted import Slotted
from tests.privileged.test_prepared import ended, renew_anchors

WITHIN = 60.0  # seconds
_PROGRAM = "import sys; from agent.proxyunit import takeover; takeover.AGAIN = 0.05; takeover.main(sys.argv[1])"


@pytest.fixture
def two(slotted: Slotted, ears: Listeners) -> Slotted:
    """Both proxies are ready, and the redirect names main."""
    return on(slotted, ears, *slotted.places.values())


def on(host: Slotted, ears: Listeners, *proxies: Place) -> Slotted:
    """The redirect names main, and these proxies listen."""
    host.add_addresses()
    for place in proxies:
        ears.add_slot(host.space, place)
    host.config.write_text(host.text.replace("/etc/anchors.pem", f"{host.prefix}/anchors.pem"))
    renew_anchors(host)
    assert levels(host, NOW) == ON
    return host


@contextmanager
def served(host: Host) -> Iterator["subprocess.Popen[bytes]"]:
    """A process for which the redirect is ON, by the record of its hook."""
    with subprocess.Popen(["sleep", "600"], env={**os.environ}) as process:
        ticks = procfs.stat(Path(f"/proc/{process.pid}/stat").read_text()).start_ticks
        prepared.record(str(host.prefix), forms.ARMED, forms.armed(process.pid, ticks, time.monotonic()))
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def watching(host: Host) -> Iterator["subprocess.Popen[bytes]"]:
    command = host.space.command(sys.executable, "-SP", "-c", _PROGRAM, str(host.prefix))
    with subprocess.Popen(command, env={"PYTHONPATH": str(REPOSITORY)}) as watcher:
        try:
            yield watcher
        finally:
            watcher.kill()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def named(host: Host) -> str:
    path = Paths(host.prefix).active_slot
    return path.read_text().strip() if path.exists() else Slot.MAIN.value


def watched(watcher: "subprocess.Popen[bytes]", process: "subprocess.Popen[bytes]") -> bool:
    """The watcher waits for it, by a pidfd."""
    for path in list(Path(f"/proc/{watcher.pid}/fdinfo").iterdir()):
        with contextlib.suppress(OSError):
            if f"Pid:\t{process.pid}\n" in path.read_text():
                return True
    return False


def test_new_connections_go_to_the_second_slot_when_main_dies(two: Slotted, ears: Listeners) -> None:
    assert two.arrives(ears) == str(two.main.address)
    with served(two) as process, watching(two) as watcher:
        until(lambda: watched(watcher, process))
        process.kill()
        process.wait()
        until(lambda: named(two) == "standby")
        until(lambda: two.arrives(ears) == str(two.standby.address))
    assert levels(two, {"verb": "redirect check"}) == ON


def test_the_hook_of_main_then_sets_no_failure_policy(two: Slotted, ears: Listeners) -> None:
    with served(two) as process, watching(two) as watcher:
        until(lambda: watched(watcher, process))
        process.kill()
        until(lambda: named(two) == "standby")
        until(lambda: two.arrives(ears) == str(two.standby.address))
        assert ended(two) == "tested failed\n", "the plan holds no longer, so the whole hook is asked"
    assert levels(two, {"verb": "redirect check"}) == ON


def test_a_failure_policy_that_was_faster_is_overtaken(two: Slotted, ears: Listeners) -> None:
    with served(two) as process, watching(two) as watcher:
        until(lambda: watched(watcher, process))
        assert "(prepared)" in ended(two)
        process.kill()
        until(lambda: named(two) == "standby")
        until(lambda: levels(two, {"verb": "redirect check"}) == ON)
        assert two.arrives(ears) == str(two.standby.address)


def test_a_second_slot_without_a_proxy_is_never_used(slotted: Slotted, ears: Listeners) -> None:
    host = on(slotted, ears, slotted.main)
    with Listeners() as second:
        second.add_slot(host.space, host.standby)
        with served(host) as process, watching(host) as watcher:
            until(lambda: watched(watcher, process))
            second.end()
            process.kill()
            process.wait()
            time.sleep(0.5)
            assert named(host) == "main"
    assert levels(host, FAILED) == BLOCKED
