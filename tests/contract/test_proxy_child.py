"""What only the child runtime meets: programs that crash or do not listen, files and ports that are not as they
should be, records that lie, and admin ports that do not answer. Real processes in private namespaces."""

import asyncio
import dataclasses
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.core import procfs, proxy
from agent.core.facts import UNKNOWN, Process, ProxyState
from agent.core.proxy import Reading
from agent.core.reasons import Reason
from agent.ports import Trouble
from tests.lab.child_proxies import BASE, IDENTITY, SETTINGS, STRANGER, UID, Options, ProxyHost

pytestmark = pytest.mark.real

SLEEP = "#!/bin/sh\nwhile :; do sleep 1; done\n"


@pytest.fixture
async def host(root: None) -> AsyncIterator[ProxyHost]:
    async with ProxyHost() as host:
        yield host


def script(host: ProxyHost, text: str, mode: int = 0o755) -> Options:
    return Options(binary=host.write("program", text, mode))


async def log_of(host: ProxyHost, options: Options) -> str:
    """What a program printed until its end."""
    async with host.agent(options) as runtime:
        await runtime.wait(await runtime.start())
    return host.path("log/proxy.log").read_text()


async def trouble(host: ProxyHost, options: Options) -> Trouble:
    async with host.agent(options) as runtime:
        with pytest.raises(Trouble) as caught:
            await runtime.start()
    return caught.value


# the process that a proxy gets to be


async def test_its_environment_is_the_proxys_and_nothing_else(host: ProxyHost) -> None:
    told = await log_of(host, Options(binary="/usr/bin/env"))
    expected = proxy.environment(SETTINGS, host.path("anchors.pem").read_text())
    assert told == "".join(f"{name}={value}\n" for name, value in expected.items())


async def test_it_is_the_proxys_user_and_in_no_other_group(host: ProxyHost) -> None:
    told = await log_of(host, Options(binary="/usr/bin/id"))
    assert told == f"uid={UID} gid={UID} groups={UID}\n"


async def test_it_hangs_on_nothing_of_its_agents(host: ProxyHost) -> None:
    look = "umask; ls /proc/$$/fd; readlink /proc/$$/fd/0 /proc/$$/cwd; cut -d' ' -f6 /proc/$$/stat; echo $$"
    umask, *descriptors, stdin, cwd, session, pid = (
        await log_of(host, script(host, f"#!/bin/sh\n{look}\n"))
    ).split()
    assert umask == "0027"
    assert {"0", "1", "2"} <= set(descriptors) <= {"0", "1", "2", "10"}  # 10: the shell's own
    assert (stdin, cwd) == ("/dev/null", "/")
    assert session == pid


async def test_output_goes_to_a_file_and_the_run_before_is_kept(host: ProxyHost) -> None:
    options = script(host, "#!/bin/sh\necho out; echo err >&2; echo $$\n")
    first, second = await log_of(host, options), await log_of(host, options)
    assert first.startswith("out\nerr\n")
    assert first != second
    assert host.path("log/proxy.log.1").read_text() == first
    assert host.path("log/proxy.log").stat().st_mode & 0o777 == 0o640


async def test_its_record_is_roots(host: ProxyHost) -> None:
    async with host.agent(script(host, SLEEP)) as runtime:
        await runtime.start()
    found = host.path("run/proxy.json").stat()
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o644)


# how it ends


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("exit 0", Reason.PROXY_STOPPED),
        ("exit 1", Reason.PROXY_FAILED_TO_START),
        ("exit 64", Reason.PROXY_CONFIGURATION_REFUSED),
        ("exit 101", Reason.PROXY_PANICKED),
        ("kill -SEGV $$", Reason.PROXY_CRASHED),
    ],
)
async def test_an_end_at_once_is_told_with_its_reason(host: ProxyHost, ending: str, reason: Reason) -> None:
    async with host.agent(script(host, f"#!/bin/sh\n{ending}\n")) as runtime:
        fault = await runtime.wait(await runtime.start())
        assert fault.reason is reason


async def test_what_does_not_listen_to_sigterm_does_to_sigkill(host: ProxyHost) -> None:
    async with host.agent(
        script(host, "#!/bin/sh\ntrap '' TERM\necho deaf\nwhile :; do sleep 1; done\n")
    ) as runtime:
        process = await runtime.start()
        await host.until_logged("deaf")
        await runtime.terminate(process)
        waiting = asyncio.create_task(runtime.wait(process))
        _, pending = await asyncio.wait({waiting}, timeout=0.3)
        assert pending
        await runtime.kill(process)
        assert "SIGKILL" in (await waiting).detail


async def test_a_proxy_that_crashes_for_ever_costs_its_agent_nothing(host: ProxyHost) -> None:
    async with host.agent(script(host, "#!/bin/sh\nexit 3\n")) as runtime:
        await runtime.wait(await runtime.start())
        before = await runtime.descriptors()
        for _ in range(5):
            process = await runtime.start()
            await runtime.inspect(process)
            await runtime.wait(process)
        assert await runtime.descriptors() == before


# what is wrong before a start


@pytest.mark.parametrize(
    ("content", "mode"),
    [("", 0o755), (SLEEP, 0o644), ("#!/no/such/interpreter\n", 0o755), (SLEEP, 0o700)],
    ids=["empty", "not executable", "no interpreter", "not for the proxy's user"],
)
async def test_a_binary_that_cannot_be_executed(host: ProxyHost, content: str, mode: int) -> None:
    options = script(host, content, mode)
    found = await trouble(host, options)
    assert found.reason is Reason.PROXY_BINARY_UNUSABLE
    assert options.binary in found.detail


@pytest.mark.parametrize("binary", ["/no/such/proxy", "/etc"])
async def test_a_binary_that_is_none(host: ProxyHost, binary: str) -> None:
    assert (await trouble(host, Options(binary=binary))).reason is Reason.PROXY_BINARY_UNUSABLE


async def test_a_start_that_failed_leaves_nothing_to_adopt(host: ProxyHost) -> None:
    options = script(host, "#!/no/such/interpreter\n")
    await trouble(host, options)
    async with host.agent(options) as runtime:
        assert await runtime.adopt() is None


@pytest.mark.parametrize("content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\n", "\udcff"])
async def test_trust_anchors_that_are_none(host: ProxyHost, content: str | None) -> None:
    if content is not None:
        host.path("other.pem").write_bytes(content.encode("utf-8", "surrogateescape"))
    found = await trouble(host, Options(anchors=str(BASE / "other.pem")))
    assert found.reason is Reason.TRUST_ANCHORS_UNUSABLE


async def test_settings_that_must_not_reach_a_proxy(host: ProxyHost) -> None:
    found = await trouble(host, Options(settings=dataclasses.replace(SETTINGS, version="2.330.0")))
    assert found.reason is Reason.PROXY_CONFIGURATION_REFUSED


@pytest.mark.parametrize(
    ("address", "port"),
    [("0.0.0.0", 4143), ("192.0.2.7", 4143), ("::1", 4140), ("127.0.0.1", 4140), ("127.0.0.1", 4191)],
)
async def test_a_port_that_is_taken_is_named(host: ProxyHost, address: str, port: int) -> None:
    async with host.running(sys.executable, "-c", LISTEN, address, str(port)):
        found = await trouble(host, Options())
    assert found.reason is Reason.PROXY_PORT_TAKEN
    assert str(port) in found.detail


async def test_an_agent_that_is_not_root(host: ProxyHost) -> None:
    found = await trouble(host, Options(own_uid=UID))
    assert (found.reason, found.detail) == (Reason.PROXY_NOT_PERMITTED, f"this process has uid {UID}")


# the gate

GATE = (sys.executable, "-m", "agent", "identity-gate", "--wait", "5", SETTINGS.workload_api, IDENTITY)


async def test_the_gate_lets_pass_whom_the_workload_api_knows(host: ProxyHost) -> None:
    async with host.agent(Options(gate=GATE)) as runtime:
        assert (await runtime.start()).pid


async def test_the_gate_asks_as_the_proxys_own_user(host: ProxyHost) -> None:
    found = await trouble(host, Options(gate=GATE, uid=STRANGER))
    assert found.reason is Reason.PROXY_IDENTITY_MISSING
    assert found.detail.startswith("WorkloadApiDenied: ")


async def test_the_gate_says_what_is_missing(host: ProxyHost) -> None:
    found = await trouble(host, Options(gate=(*GATE[:-1], "spiffe://root.example/other")))
    assert found.reason is Reason.PROXY_IDENTITY_MISSING
    assert found.detail.startswith("IdentityUnexpected: ")


@pytest.mark.parametrize("gate", [("false",), ("/no/such/gate",)])
async def test_a_gate_that_does_not_work_lets_nobody_pass(host: ProxyHost, gate: tuple[str, ...]) -> None:
    found = await trouble(host, Options(gate=gate))
    assert found.reason is Reason.PROXY_IDENTITY_MISSING
    assert gate[0] in found.detail


# records


async def orphaned(host: ProxyHost, options: Options) -> tuple[Process, dict[str, Any]]:
    """A process whose agent was killed, and the record of it."""
    async with host.agent(options) as runtime:
        process = await runtime.start()
        await runtime.die()
    return process, json.loads(host.path("run/proxy.json").read_text())


async def adopted(host: ProxyHost, options: Options, record: dict[str, Any]) -> Process | None:
    host.path("run/proxy.json").write_text(json.dumps(record))
    async with host.agent(options) as runtime:
        return await runtime.adopt()


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),
        ({"executable": ""}, True),
        ({"boot_id": "another boot"}, False),
        ({"start_ticks": 1}, False),
        ({"pid": 4_000_000}, False),
        ({"executable": "/usr/bin/other"}, True),
        ({"executable": "/usr/bin/other", "log": [0, 0]}, False),
    ],
    ids=[
        "as it was",
        "unread executable",
        "another boot",
        "a pid used again",
        "no such pid",
        "a wrapper that ended in exec",
        "another program",
    ],
)
async def test_only_the_very_process_is_adopted(host: ProxyHost, changes: dict[str, Any], taken: bool) -> None:
    options = script(host, SLEEP)
    process, record = await orphaned(host, options)
    found = await adopted(host, options, record | changes)
    assert (found is not None and found.pid == process.pid) is taken


async def test_a_binary_that_was_replaced_is_still_its_process(host: ProxyHost) -> None:
    sleeper = str(BASE / "sleeper")
    await host.run("cp", "/bin/sleep", sleeper)
    executed = f'until [ "$(readlink /proc/$!/exe)" = {sleeper} ]; do :; done'
    async with host.running("sh", "-c", f"{sleeper} 1000 & {executed}; echo $!; read end; kill $!") as pid:
        host.path("sleeper").unlink()
        ticks = procfs.stat(await host.run("cat", f"/proc/{pid}/stat")).start_ticks
        _, record = await orphaned(host, script(host, SLEEP))
        replaced = {"pid": int(pid), "start_ticks": ticks, "executable": sleeper, "log": [0, 0]}
        found = await adopted(host, Options(), record | replaced)
        assert found is not None
        assert found.pid == int(pid)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
async def test_a_record_that_cannot_be_read_is_none(host: ProxyHost, text: str) -> None:
    async with host.agent(script(host, SLEEP)) as runtime:
        host.path("run").mkdir()
        host.path("run/proxy.json").write_text(text)
        assert await runtime.adopt() is None


async def test_what_was_forked_but_not_recorded_is_found_by_its_log(host: ProxyHost) -> None:
    options = script(host, SLEEP)
    process, record = await orphaned(host, options)
    intent = {"boot_id": record["boot_id"], "log": record["log"]}
    found = await adopted(host, options, intent)
    assert found is not None
    assert (found.pid, found.start_ticks) == (process.pid, process.start_ticks)
    assert json.loads(host.path("run/proxy.json").read_text())["pid"] == process.pid


async def test_an_intent_without_a_fork_is_nothing(host: ProxyHost) -> None:
    options = script(host, "#!/bin/sh\nexit 0\n")
    _, record = await orphaned(host, options)
    assert await adopted(host, options, {"boot_id": record["boot_id"], "log": record["log"]}) is None


async def test_the_dead_that_nobody_reaped_are_not_adopted(host: ProxyHost) -> None:
    options = script(host, SLEEP)
    _, record = await orphaned(host, options)
    async with host.running(sys.executable, "-c", ZOMBIE) as pid:
        ticks = procfs.stat(await host.run("cat", f"/proc/{pid}/stat")).start_ticks
        undead = {"pid": int(pid), "start_ticks": ticks, "executable": ""}
        assert await adopted(host, options, record | undead) is None


# readings


async def read(host: ProxyHost, *listen: str) -> Reading:
    """What is read of a proxy that opens nothing itself, while another process, as root, acts as instructed."""
    async with host.agent(script(host, SLEEP)) as runtime:
        process = await runtime.start()
        if not listen:
            return await runtime.inspect(process)
        async with host.running(sys.executable, "-c", *listen):
            return await runtime.inspect(process)


async def test_a_proxy_that_opens_nothing_is_starting(host: ProxyHost) -> None:
    reading = await read(host)
    assert reading == Reading(False, UNKNOWN, UNKNOWN, False, False, frozenset(), UNKNOWN)
    assert proxy.judge(reading, UID, 0.0)[0] is ProxyState.STARTING


@pytest.mark.parametrize(
    ("address", "port", "uids"),
    [
        ("::", 4143, {0}),
        ("127.0.0.1", 4140, {0}),
        ("127.0.0.1", 4191, {0}),
        ("192.0.2.7", 4140, set()),
        ("::", 80, set()),
    ],
)
async def test_whose_the_listeners_are(host: ProxyHost, address: str, port: int, uids: set[int]) -> None:
    reading = await read(host, LISTEN, address, str(port))
    assert reading.listener_uids == frozenset(uids)
    assert reading.inbound_listening is (port == 4143)


@pytest.mark.parametrize("manner", ["forbid", "hang", "flood", "garble", "hang up"])
async def test_an_admin_port_that_does_not_answer_properly_tells_nothing(host: ProxyHost, manner: str) -> None:
    reading = await read(host, ADMIN, manner)
    assert (reading.live, reading.ready, reading.certificate_expires, reading.in_flight) == (UNKNOWN,) * 4


LISTEN = """\
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family, dualstack_ipv6=sys.argv[1] == "::")
print("listening", flush=True)
sys.stdin.read()
"""
ZOMBIE = """\
import os, sys
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print(pid, flush=True)
sys.stdin.read()
"""
ADMIN = """\
import itertools, socket, sys, threading
def flood(c):
    c.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    while True: c.sendall(b"x" * 65536)
manners = {
    "forbid": lambda c: c.sendall(b"HTTP/1.1 403 Forbidden\\r\\ncontent-length: 0\\r\\n\\r\\n"),
    "hang": lambda c: c.recv(1),
    "flood": flood,
    "garble": lambda c: c.sendall(b"SSH-2.0-OpenSSH\\r\\n"),
    "hang up": lambda c: c.close(),
}
def serve(c):
    try:
        c.recv(65536)
        manners[sys.argv[1]](c)
    except OSError:
        pass
def accept():
    while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
s = socket.create_server(("127.0.0.1", 4191))
threading.Thread(target=accept, daemon=True).start()
print("listening", flush=True)
sys.stdin.read()
"""
