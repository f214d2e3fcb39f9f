"""The privileged helper's contract with the agent, however it is reached: spawned by root, or behind a socket."""

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from agent.adapters import helper as adapter
from agent.adapters.helper import Helper, netfilter_socket
from agent.adapters.redirector import HelperRedirector, concerns_us
from agent.core.facts import Level
from agent.core.goals import RedirectGoal as Goal
from agent.core.reasons import Fault, Reason
from agent.host import Host as Paths
from agent.ports import LiveRedirect, Trouble
from tests.lab.netns import namespace
from tests.lab.reachable import reachable
from tests.privileged.hosts import Host, Listeners, files
from tests.privileged.sockets import AGENT, helper_socket, with_user

FAILED = Reason.REDIRECT_FAILED
STRANGER = 2109


@pytest.fixture
def host(root: None, tmp_path: Path) -> Iterator[Host]:
    tmp_path.chmod(0o755)
    files(tmp_path)
    with namespace() as space, Listeners() as ears:
        ears.add_listeners(space)
        yield Host(space, space, tmp_path)


@pytest.fixture(params=["spawned", "socket"])
def helper(request: pytest.FixtureRequest, host: Host) -> Iterator[Helper]:
    if request.param == "spawned":
        yield host.helper()
        return
    with helper_socket(host):
        opened = partial(host.space.inside, netfilter_socket)
        yield Helper(str(host.prefix), ["/nonexistent"], starts=False, netfilter=opened)


@contextlib.contextmanager
def watching(helper: Helper) -> Iterator[HelperRedirector]:
    redirector = HelperRedirector(helper)
    with contextlib.closing(redirector):
        yield redirector


# any transport ----------------------------------------------------------------------------------------


async def test_levels_are_set_and_read_back(helper: Helper) -> None:
    redirector = HelperRedirector(helper)
    assert await redirector.check() == LiveRedirect(Level.OFF, Level.OFF)
    assert await redirector.apply(Goal.ON, Goal.BLOCK) == LiveRedirect(Level.ON, Level.BLOCK)
    assert await redirector.check() == LiveRedirect(Level.ON, Level.BLOCK)


async def test_a_refusal_has_its_reason(helper: Helper) -> None:
    with pytest.raises(Trouble) as caught:
        await helper.ask("redirect arm", FAILED)
    assert caught.value.reason is Reason.PROXY_UNREADABLE


async def test_no_request_is_refused_too(helper: Helper) -> None:
    with pytest.raises(Trouble) as caught:
        await helper.ask("redirect apply", FAILED, ports="22")
    assert caught.value.reason is Reason.HELPER_REFUSED


async def test_many_ask_at_once(helper: Helper) -> None:
    answers = await asyncio.gather(*(helper.ask("redirect check", FAILED) for _ in range(4)))
    assert answers == [{"inbound": "off", "outbound": "off"}] * 4


async def test_the_watch_tells_of_changes_and_needs_no_rights_to_be_read(host: Host, helper: Helper) -> None:
    with await helper.watch(FAILED) as notices:
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


async def test_other_owners_changes_are_no_drift(host: Host, helper: Helper) -> None:
    with watching(helper) as redirector:
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
    with watching(host.helper()) as redirector:
        await redirector.apply(Goal.ON, Goal.ON)
        await redirector.drifted()
        host.space.run("nft", change)
        await asyncio.wait_for(redirector.drifted(), 10)


def test_a_message_that_is_not_understood_is_looked_at() -> None:
    assert concerns_us(struct.pack("=IHHII", 1, 0, 0, 0, 0))


async def test_a_reason_that_this_agent_does_not_know_is_the_failure_of_the_verb(tmp_path: Path) -> None:
    """Agent and helper may be of different versions for a moment."""
    answer = json.dumps({"ok": False, "reason": "Unheard", "detail": "cannot"})
    helper = Helper(str(tmp_path), ["/bin/sh", "-c", f"echo '{answer}'; exit 1", "helper"])
    with pytest.raises(Trouble) as caught:
        await helper.ask("redirect check", FAILED)
    assert caught.value.fault == Fault(FAILED, "cannot")


async def test_more_changes_than_fit_are_drift(host: Host) -> None:
    with watching(host.helper()) as redirector:
        await redirector.drifted()
        elements = ",\n".join(map(str, range(1, 20000)))
        rules = f"table inet t {{ set s {{ type mark; elements = {{\n{elements}\n}}; }}; }}\n"
        host.space.run("nft", "-f", "-", input=rules)
        await asyncio.wait_for(redirector.drifted(), 10)


# the socket ----------------------------------------------------------------------------------------

_CLIENT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as helper:
    helper.connect(sys.argv[1])
    helper.sendall(sys.stdin.buffer.readline())
    while data := helper.recv(65536):
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


def test_only_root_and_the_agent_are_served(host: Host) -> None:
    reachable(host.prefix)
    with helper_socket(host, *with_user(host.prefix)) as path:
        assert ask_as(AGENT, path, verb="redirect check") == {"ok": True, "inbound": "off", "outbound": "off"}
        assert ask_as(0, path, verb="redirect check")["ok"] is True
        answer = ask_as(STRANGER, path, verb="redirect check")
        assert (answer["ok"], answer["reason"]) == (False, "HelperRefused")
        assert answer["detail"] == f"cannot serve uid {STRANGER}: it is neither root nor 'fairlead'"


def test_the_agent_has_no_operators_say(host: Host) -> None:
    reachable(host.prefix)
    with helper_socket(host, *with_user(host.prefix)) as path:
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
            assert (answer["ok"], answer["reason"]) == (False, "HelperRefused")
            assert "only root may request it" in str(answer["detail"])
        assert ask_as(AGENT, path, verb="redirect set", inbound="block", outbound="block")["ok"] is True


async def test_a_socket_that_is_missing_is_a_trouble_to_the_agent(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: AGENT)
    for call in (host.helper().ask("redirect check", FAILED), host.helper().watch(FAILED)):
        with pytest.raises(Trouble, match=r"cannot reach the privileged helper at .*helper.sock: No such file"):
            await call


async def test_a_request_that_was_begun_is_answered_once(helper: Helper) -> None:
    """Only the first question is: the second one is sent, and sees what has changed."""
    redirector = HelperRedirector(helper)
    with contextlib.closing(helper):
        helper.begin("redirect check")
        begun = await redirector.check()
        assert begun == LiveRedirect(Level.OFF, Level.OFF)
        await redirector.apply(Goal.ON, Goal.BLOCK)
        assert await redirector.check() == LiveRedirect(Level.ON, Level.BLOCK)


async def test_one_connection_serves_a_request_that_was_begun(host: Host) -> None:
    path = Paths(host.prefix).helper_socket
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, contextlib.closing(_asker(host)) as helper:
        listener.bind(str(path))
        listener.listen()
        helper.begin("redirect check")
        listener.setblocking(False)  # nobody has asked yet, and the request is there
        connection, _ = listener.accept()
        with connection:
            assert json.loads(connection.recv(4096)) == {"verb": "redirect check"}
            connection.sendall(b'{"ok": true, "inbound": "on"}')
        assert await helper.ask("redirect check", FAILED) == {"inbound": "on"}
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_what_is_wrong_when_a_request_is_begun_is_reported_when_it_is_asked(host: Host) -> None:
    helper = _asker(host)
    helper.begin("redirect check")
    with pytest.raises(Trouble, match=r"cannot reach the privileged helper at .*helper.sock: No such file"):
        await helper.ask("redirect check", FAILED)


def _asker(host: Host) -> Helper:
    return Helper(str(host.prefix), starts=False)


async def test_a_helper_that_is_silent(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "WITHIN", 0.2)
    path = Paths(host.prefix).helper_socket
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(Trouble, match=r"no answer within 0.2 s"):
            await Helper(str(host.prefix), starts=False).ask("redirect check", FAILED)


async def test_a_helper_that_ends_before_it_reads_is_a_trouble(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd closes a connection at once where too many are open."""
    path = Paths(host.prefix).helper_socket
    path.parent.mkdir(parents=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def closed(_connection: socket.socket) -> int:
        listener.close()
        return 0

    monkeypatch.setattr("agent.host.peer.uid", closed)
    with pytest.raises(Trouble, match="cannot ask the privileged helper"):
        await Helper(str(host.prefix), starts=False).watch(FAILED)
