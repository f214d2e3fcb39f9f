"""The attacker is a user whose files other programs of fairlead read, and puts something else in their place: a
link to a file without an end, a FIFO that nobody writes, a folder, or a file that is too long.

What must hold: the reader neither waits nor takes memory, and goes on as if there were no such file.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.adapters import anchors
from agent.core.reasons import Fault, Reason
from agent.host import Host, reading
from agent.ports import Trouble
from agent.privileged import Refusal
from agent.privileged.proxy import anchors as roots_anchors
from agent.proxyunit import crash_count, failed_starts
from tests.attacks import limited
from tests.attacks.limited import MEMORY, WITHIN
from tests.privileged.hosts import CONFIG


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "kept").write_text("x")


def _long(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MEMORY << 2)


Plant = Callable[[Path], None]
planted = pytest.mark.parametrize("plant", [_endless, _fifo, _folder, _long])
_SAID: dict[Plant, str] = {
    _endless: "it is a symbolic link",
    _fifo: "it is not a regular file",
    _folder: "Is a directory",
    _long: "longer than 10 bytes",
}


@planted
def test_attack_on_the_one_function_that_reads(tmp_path: Path, plant: Plant) -> None:
    path = tmp_path / "record"
    plant(path)
    with pytest.raises(OSError) as caught:
        reading.read(path, 10)
    assert caught.value.strerror == _SAID[plant]
    reading.discard(path)
    assert not os.path.lexists(path)


def test_attack_by_a_link_that_root_may_have_made(tmp_path: Path) -> None:
    """Where root chose the name a link is followed, to regular files alone."""
    path, good = tmp_path / "token", tmp_path / "good"
    good.write_text("t")
    path.symlink_to(good)
    assert reading.read(path, 10, links=True) == b"t"
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a regular file"):
        reading.read(path, 10, links=True)


_AGENT = """
import asyncio, sys
from pathlib import Path
from agent.adapters.helper import Helper
from agent.adapters.proxy_unit import UnitProxy
from agent.core.facts import Process

async def main():
    beats = 0
    async def beat():
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)
    beating = asyncio.create_task(beat())
    runtime = UnitProxy(lambda: None, Helper("/nonexistent"), Path(sys.argv[1]), bus="/nonexistent")
    fault = await runtime.wait(Process(2**22 + 1, 1, "boot", "linkerd2-proxy"))
    beating.cancel()
    print(fault.reason, beats > 0)

asyncio.run(main())
"""


@planted
def test_attack_on_the_agent_by_the_record_of_the_gate(tmp_path: Path, plant: Plant) -> None:
    """By the proxy's user: the agent reads it when the proxy ends, and when a start waits."""
    host = Host(tmp_path)
    host.proxy_run.mkdir(parents=True)
    plant(host.gate)
    done = limited.run(_AGENT, str(tmp_path))
    assert (done.stdout, done.stderr) == ("ProxyCrashed True\n", "")


@planted
@pytest.mark.parametrize("name", ["gate.json", "starts"])
def test_attack_on_the_next_start_by_records_of_the_last(tmp_path: Path, name: str, plant: Plant) -> None:
    """By a proxy that was taken over, and has ended: what it left does not keep the next from starting."""
    plant(tmp_path / name)
    failed_starts.pause(tmp_path, tmp_path / "ended")
    crash_count.begin(tmp_path, 0)
    failed_starts.record(tmp_path, Fault(Reason.PROXY_CONFIGURATION_REFUSED, "x"))
    assert reading.text(tmp_path / crash_count.STARTS, 100).startswith("0 ")
    assert "ProxyConfigurationRefused" in reading.text(tmp_path / "gate.json", 100)


UNREAD = r"cannot read .*/agent/trust-anchors\.pem: "


def _accept(prefix: Path) -> None:
    with pytest.raises(Refusal, match=UNREAD):
        roots_anchors.accept(prefix, "0" * 64)


def _follow(prefix: Path) -> None:
    with pytest.raises(Refusal, match=UNREAD):
        roots_anchors.follow(prefix, "0" * 64)


def _show(prefix: Path) -> None:
    kept = Host(prefix).anchors_kept
    with pytest.raises(Trouble, match=UNREAD):
        anchors.in_force(anchors.Places((kept,), kept))


@planted
@pytest.mark.parametrize("read", [_accept, _follow, _show])
def test_attack_on_root_by_the_agents_trust_anchors(
    root: None, tmp_path: Path, plant: Plant, read: Callable[[Path], None]
) -> None:
    """By the agent's user: what it found is read by root, and shown to an operator."""
    host = Host(tmp_path)
    host.agent_state.mkdir(parents=True)
    host.configuration.parent.mkdir(parents=True)
    follow = 'trust_anchors = "/etc/anchors.pem"\nanchors_source = "cluster"\nanchors_follow = true'
    host.configuration.write_text(CONFIG.replace('trust_anchors = "/etc/anchors.pem"', follow))
    plant(host.anchors_kept)
    asyncio.run(asyncio.wait_for(asyncio.to_thread(read, tmp_path), WITHIN))
