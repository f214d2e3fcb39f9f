"""The door's contract with the agent, however it is reached: spawned by root, or behind a socket."""

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters import helper as adapter
from agent.adapters.helper import Door
from agent.adapters.redirector import DoorRedirector, concerns_us
from agent.core.facts import Level
from agent.core.goals import RedirectGoal as Goal
from agent.core.reasons import Fault, Reason
from agent.ports import LiveRedirect, Trouble
from tests.lab.netns import namespace
from tests.privileged.hosts import Host, files
from tests.privileged.sockets import door_socket

FAILED = Reason.REDIRECT_FAILED
STRANGER, AGENT = 2109, 2101


@pytest.fixture
def host(root: None, tmp_path: Path) -> Iterator[Host]:
    tmp_path.chmod(0o755)
    files(tmp_path)
    with namespace() as space:
        yield Host(space, space, tmp_path)


@pytest.fixture(params=["spawned", "socket"])
def door(request: pytest.FixtureRequest, host: Host) -> Iterator[Door]:
    if request.param == "spawned":
        yield host.door()
        return
    with door_socket(host):
        yield Door(str(host.prefix), ["/nonexistent"])


@contextlib.contextmanager
def watching(door: Door) -> Iterator[DoorRedirector]:
    redirector = DoorRedirector(door)
    with contextlib.closing(redirector):
        yield redirector


# any way in ----------------------------------------------------------------------------------------


async def test_levels_are_set_and_read_back(door: Door) -> None:
    redirector = DoorRedirector(door)
    assert await redirector.check() == LiveRedirect(Level.OFF, Level.OFF)
    assert await redirector.apply(Goal.ON, Goal.BLOCK) == LiveRedirect(Level.ON, Level.BLOCK)
    assert await redirector.check() == LiveRedirect(Level.ON, Level.BLOCK)


async def test_a_refusal_has_its_reason(door: Door) -> None:
    with pytest.raises(Trouble) as caught:
        await door.ask("redirect arm", FAILED)
    assert caught.value.reason is Reason.PROXY_LISTENER_ABSENT


async def test_no_request_is_refused_too(door: Door) -> None:
    with pytest.raises(Trouble) as caught:
        await door.ask("redirect apply", FAILED, ports="22")
    assert caught.value.reason is Reason.DOOR_REFUSED


async def test_many_ask_at_once(door: Door) -> None:
    answers = await asyncio.gather(*(door.ask("redirect check", FAILED) for _ in range(4)))
    assert answers == [{"inbound": "off", "outbound": "off"}] * 4


async def test_the_watch_tells_of_changes_and_needs_no_rights_to_be_read(host: Host, door: Door) -> None:
    with await door.watch(FAILED) as notices:
        notices.setblocking(True)
        host.space.run("nft", "add table inet fairlead")
        reader = await asyncio.create_subprocess_exec(
            *("dd", "bs=65536", "count=1", "status=none"),
            stdin=notices.fileno(),
            stdout=asyncio.subprocess.PIPE,
            user=STRANGER,
            env={**os.environ},
        )
        told, _ = await asyncio.wait_for(reader.communicate(), 10)
        assert concerns_us(told)


async def test_other_owners_changes_are_no_drift(host: Host, door: Door) -> None:
    with watching(door) as redirector:
        await redirector.drifted()
        waiting = asyncio.create_task(redirector.drifted())
        for change in (
            "add table inet docker",
            "add chain inet docker c",
            "add rule inet docker c tcp dport 80 drop",
        ):
            host.space.run("nft", change)
        assert not waiting.done()
        for change in ("add table inet fairlead", "flush ruleset"):
            host.space.run("nft", change)
            await asyncio.wait_for(waiting, 10)
            waiting = asyncio.create_task(redirector.drifted())
        waiting.cancel()
        await asyncio.wait([waiting])


@pytest.mark.parametrize(
    "change",
    [
        "add table inet fairlead { flags dormant; }",
        "add chain inet fairlead more",
        "flush chain inet fairlead inbound",
        "insert rule inet fairlead inbound tcp dport 25 drop",
        "add set inet fairlead s { type ipv4_addr; }",
        "delete table inet fairlead",
    ],
)
async def test_every_change_of_ours_is_noticed(host: Host, change: str) -> None:
    with watching(host.door()) as redirector:
        await redirector.apply(Goal.ON, Goal.ON)
        await redirector.drifted()
        host.space.run("nft", change)
        await asyncio.wait_for(redirector.drifted(), 10)


def test_a_message_that_is_not_understood_is_looked_at() -> None:
    assert concerns_us(struct.pack("=IHHII", 1, 0, 0, 0, 0))


async def test_a_reason_that_this_agent_does_not_know_is_the_failure_of_the_verb(tmp_path: Path) -> None:
    """Agent and door may be of different versions for a moment."""
    answer = json.dumps({"ok": False, "reason": "Unheard", "detail": "cannot"})
    door = Door(str(tmp_path), ["/bin/sh", "-c", f"echo '{answer}'; exit 1", "door"])
    with pytest.raises(Trouble) as caught:
        await door.ask("redirect check", FAILED)
    assert caught.value.fault == Fault(FAILED, "cannot")


async def test_more_changes_than_fit_are_drift(host: Host) -> None:
    with watching(host.door()) as redirector:
        await redirector.drifted()
        elements = ",\n".join(map(str, range(1, 20000)))
        rules = f"table inet t {{ set s {{ type mark; elements = {{\n{elements}\n}}; }}; }}\n"
        host.space.run("nft", "-f", "-", input=rules)
        await asyncio.wait_for(redirector.drifted(), 10)


# the socket ----------------------------------------------------------------------------------------

_CLIENT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as door:
    door.connect(sys.argv[1])
    door.sendall(sys.stdin.buffer.readline())
    while data := door.recv(65536):
        sys.stdout.buffer.write(data)
"""


def ask_as(uid: int, path: str, **request: str) -> dict[str, object]:
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", _CLIENT, path],
        input=json.dumps(request).encode() + b"\n",
        capture_output=True,
        user=uid,
        check=True,
        timeout=30,
        env={**os.environ},
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def with_user(folder: Path) -> tuple[str, ...]:
    """The door sees a host that has the agent's user."""
    passwd = folder / "passwd"
    passwd.write_text(f"{Path('/etc/passwd').read_text()}fairlead:x:{AGENT}:{AGENT}::/:/bin/false\n")
    return ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/passwd; exec "$@"', str(passwd))


def reachable(path: Path) -> None:
    """pytest's own directory is closed to other users."""
    for folder in (path, *path.parents):
        if folder.stat().st_mode & 0o777 == 0o700 and str(folder).startswith("/tmp/"):
            folder.chmod(0o711)


def test_only_root_and_the_agent_are_served(host: Host) -> None:
    reachable(host.prefix)
    with door_socket(host, *with_user(host.prefix)) as path:
        assert ask_as(AGENT, path, verb="redirect check") == {"ok": True, "inbound": "off", "outbound": "off"}
        assert ask_as(0, path, verb="redirect check")["ok"] is True
        answer = ask_as(STRANGER, path, verb="redirect check")
        assert (answer["ok"], answer["reason"]) == (False, "DoorRefused")
        assert answer["detail"] == f"cannot serve uid {STRANGER}: it is neither root nor 'fairlead'"


def test_the_agent_has_no_operators_say(host: Host) -> None:
    reachable(host.prefix)
    with door_socket(host, *with_user(host.prefix)) as path:
        asked: list[dict[str, str]] = [
            *(
                {"verb": f"redirect {verb}"}
                for verb in ("confirm", "revert", "remove", "adopt-guide", "accept-greetings")
            ),
            {"verb": "redirect apply", "confirm": "none"},
            {"verb": "anchors accept", "digest": "0" * 64},
        ]
        for request in asked:
            answer = ask_as(AGENT, path, **request)
            assert (answer["ok"], answer["reason"]) == (False, "DoorRefused")
            assert "it is an operator's to ask" in str(answer["detail"])
        assert ask_as(AGENT, path, verb="redirect apply", inbound="block", outbound="block")["ok"] is True


async def test_a_socket_that_nobody_serves_is_no_hindrance_to_root(host: Host) -> None:
    path = host.prefix / adapter.SOCKET
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    assert await host.door().ask("redirect check", FAILED) == {"inbound": "off", "outbound": "off"}


async def test_and_a_trouble_to_anybody_else(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: AGENT)
    for call in (host.door().ask("redirect check", FAILED), host.door().watch(FAILED)):
        with pytest.raises(Trouble, match=r"cannot reach the door at .*door.sock: No such file"):
            await call


async def test_a_door_that_is_silent(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "WITHIN", 0.2)
    path = host.prefix / adapter.SOCKET
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(Trouble, match=r"no answer within 0.2 s"):
            await host.door().ask("redirect check", FAILED)
