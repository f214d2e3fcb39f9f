"""The external contract of linkerd2-proxy (docs/linkerd.md §1-§3, §12), which the stand-in implements too.

With LINKERD2_PROXY=/path/of/linkerd2-proxy in the environment the same rows run on that program: what both do
stays the same by that. Where the stand-in goes its own way, the row says so.
"""

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

import pytest

from agent.core import proxy
from agent.core.facts import UNKNOWN, Process
from agent.core.proxy import ProxySettings, Reading
from agent.core.reasons import Reason
from agent.sandbox.identity.ca import Authority
from tests.contract.test_proxy_runtime import ready
from tests.lab.child_proxies import (
    ADDRESS,
    ADDRESS6,
    CLIENT,
    CLIENT_ADDRESS,
    IDENTITY,
    PROXIES,
    SETTINGS,
    TRUST_DOMAIN,
    UID,
    Options,
    ProxyHost,
    RemoteRuntime,
    binary_of,
)
from tests.lab.proxy_clients import PORT, ask, dial, listen, listening, meshed, refused, streams

OTHER_ADDRESS = "192.0.2.9"
OPAQUE = replace(SETTINGS, opaque_ports=(PORT,))
GREETING = f"{ADDRESS}\n".encode()
REDIRECTED = f"""\
table inet test {{
  chain inbound {{
    type nat hook prerouting priority -110;
    ip daddr {{ {ADDRESS}, {OTHER_ADDRESS} }} tcp dport {PORT} dnat to :4143
    ip6 daddr {ADDRESS6} tcp dport {PORT} dnat to :4143
  }}
  chain outbound {{
    type nat hook output priority -110;
    meta skuid {UID} return
    ip daddr {CLIENT_ADDRESS} tcp dport {PORT} redirect to :4140
  }}
}}
"""


@pytest.fixture(params=PROXIES)
async def host(request: pytest.FixtureRequest, root: None) -> AsyncIterator[ProxyHost]:
    async with ProxyHost(binary_of(request.param), ttl=4.0) as host:
        yield host


async def load(host: ProxyHost, rules: str) -> None:
    await host.run("nft", "-f", host.write("rules.nft", rules))


@contextlib.asynccontextmanager
async def started(host: ProxyHost, options: Options | None = None) -> AsyncIterator[tuple[RemoteRuntime, Process]]:
    async with host.agent(options) as runtime:
        yield runtime, await runtime.start()


@contextlib.asynccontextmanager
async def serving(
    host: ProxyHost, settings: ProxySettings = SETTINGS
) -> AsyncIterator[tuple[RemoteRuntime, Process]]:
    """A ready proxy on a host with its redirect, before the application."""
    await load(host, REDIRECTED)
    options = Options(settings, host.binary)
    async with listening(host.network, ADDRESS, ADDRESS6), started(host, options) as (runtime, process):
        await ready(runtime, process)
        try:
            yield runtime, process
        finally:
            await runtime.kill(process)


async def page(host: ProxyHost, path: str, method: str = "GET") -> tuple[str, str]:
    """Status and body of a page of the admin port."""
    async with streams(dial(host.network, "127.0.0.1", proxy.ADMIN_PORT)) as (reader, writer):
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        return head.split()[1], body


# inbound


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS6])
async def test_plain_bytes_reach_the_application_from_the_hosts_own_address(host: ProxyHost, address: str) -> None:
    async with serving(host):
        answer = await ask(dial(host.client, address), b"\x00 not HTTP")
        assert answer == f"{address}\n".encode() + b"\x00 not HTTPend"  # and half a close came through too


async def test_a_client_that_says_nothing_is_not_served(host: ProxyHost) -> None:
    """So a protocol in which the server speaks first does not pass: the application here greets."""
    host.binary = with_variable(host, "INBOUND_DETECT_TIMEOUT", "200ms")
    async with serving(host), streams(dial(host.client, ADDRESS)) as (reader, _):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


async def test_a_meshed_peer_that_says_nothing_hears_the_server_only_after_the_detection(host: ProxyHost) -> None:
    host.binary = with_variable(host, "INBOUND_DETECT_TIMEOUT", "200ms")
    async with serving(host):
        assert (await meshed(host, SETTINGS.server_name, says=b""))[0] == GREETING


async def test_an_opaque_port_passes_a_server_that_speaks_first_at_once(host: ProxyHost) -> None:
    """No policy controller answers here, so the environment counts. The detection would take 10 s."""
    async with serving(host, OPAQUE):
        async with asyncio.timeout(5), streams(dial(host.client, ADDRESS)) as (reader, _):
            assert await reader.readline() == GREETING
        async with asyncio.timeout(5):
            assert (await meshed(host, SETTINGS.server_name, says=b"", named=PORT))[0] == GREETING


async def test_a_meshed_peer_is_not_recognised_on_an_opaque_port_itself(host: ProxyHost) -> None:
    """Its TLS goes to the application; so its own proxy dials the inbound port, and names the opaque one."""
    async with serving(host, OPAQUE):
        with pytest.raises(ssl.SSLError):
            await meshed(host, SETTINGS.server_name)


def with_variable(host: ProxyHost, name: str, value: str) -> str:
    """The proxy's program, with one more variable than fairlead sets."""
    return host.write("wrapped", f"#!/bin/sh\nexport LINKERD2_PROXY_{name}={value}\nexec {host.binary}\n")


async def test_a_meshed_peer_and_the_host_prove_their_identities(host: ProxyHost) -> None:
    async with serving(host):
        line, identity = await meshed(host, SETTINGS.server_name)
        assert line == f"{ADDRESS}\n".encode()
        assert identity == ("URI", IDENTITY)


async def test_a_peer_without_an_identity_is_served_by_a_policy_that_asks_for_none(host: ProxyHost) -> None:
    async with serving(host):
        assert (await meshed(host, SETTINGS.server_name, certified=False))[0] == f"{ADDRESS}\n".encode()


async def test_a_policy_that_asks_for_one_refuses_spiffe_ids_too_and_closes_the_admin_port(
    host: ProxyHost,
) -> None:
    host.binary = with_variable(host, "INBOUND_DEFAULT_POLICY", "all-authenticated")
    await load(host, REDIRECTED)
    async with listening(host.network, ADDRESS), started(host) as (runtime, process):
        await host.until_logged("Certified identity")
        assert await refused(host.client, ADDRESS, PORT, b"\x00hello")
        for certified in (True, False):
            with contextlib.suppress(OSError):
                assert (await meshed(host, SETTINGS.server_name, certified))[0] == b""
        reading = await runtime.inspect(process)
        assert (reading.live, reading.ready, reading.inbound_listening) == (UNKNOWN, UNKNOWN, True)
        assert judged(reading) == ("unreadable", Reason.PROXY_UNREADABLE)
        await runtime.kill(process)


async def test_an_identity_that_does_not_chain_to_the_anchors_is_refused(host: ProxyHost) -> None:
    forged = Authority(TRUST_DOMAIN).svid(CLIENT, 600)
    host.write("client.pem", forged.key_pem + forged.cert_pem)
    async with serving(host):
        with contextlib.suppress(OSError):
            assert (await meshed(host, SETTINGS.server_name))[0] == b""


async def test_tls_for_another_name_passes_as_it_is(host: ProxyHost) -> None:
    """The application is no TLS server: its plain first line is what ends the handshake."""
    async with serving(host):
        with pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
            await meshed(host, "other.example")


async def test_an_original_destination_that_is_not_the_workloads_is_refused(host: ProxyHost) -> None:
    async with serving(host):
        host.network.run("ip", "address", "add", f"{OTHER_ADDRESS}/32", "dev", "lo")
        assert await refused(host.client, OTHER_ADDRESS, PORT, b"\x00hello")


async def test_a_direct_connection_without_the_mesh_is_refused(host: ProxyHost) -> None:
    async with serving(host):
        assert await refused(host.client, ADDRESS, proxy.INBOUND_PORT, b"GET / HTTP/1.1\r\n\r\n")


async def test_without_connection_tracking_every_connection_is_refused(host: ProxyHost) -> None:
    async with started(host) as (runtime, process):
        await ready(runtime, process)
        assert await refused(host.client, ADDRESS, proxy.INBOUND_PORT, b"hello")
        await host.until_logged("No such file or directory")


# certificate


async def test_a_rotation_moves_the_expiry_and_new_connections_have_the_new_svid(host: ProxyHost) -> None:
    async with serving(host) as (runtime, process):
        first = (await runtime.inspect(process)).certificate_expires
        await until(runtime, process, lambda reading: reading.certificate_expires != first)
        assert (await meshed(host, SETTINGS.server_name))[1] == ("URI", IDENTITY)


def judged(reading: Reading) -> tuple[str, Reason | None]:
    state, fault, _ = proxy.judge(reading, UID, 0.0)
    return state.value, fault.reason if fault else None


async def until(runtime: RemoteRuntime, process: Process, wanted: Callable[[Reading], bool]) -> Reading:
    """The first reading that is as wanted."""
    async with asyncio.timeout(30):
        while True:
            reading = await runtime.inspect(process)
            if wanted(reading):
                return reading
            await asyncio.sleep(0.05)


async def test_without_a_socket_at_the_start_it_says_ready_and_serves_nothing(host: ProxyHost) -> None:
    options = Options(binary=host.binary, settings=replace(SETTINGS, workload_api="/no/such.sock"))
    async with started(host, options) as (runtime, process):
        reading = await until(runtime, process, lambda r: r.live is True and r.inbound_listening is False)
        assert (reading.ready, reading.certificate_expires, reading.outbound_listening) == (True, 0.0, False)
        assert judged(reading) == ("not-ready", Reason.PROXY_UNCERTIFIED)
        await runtime.terminate(process)
        assert (await runtime.wait(process)).reason is Reason.PROXY_STOPPED


async def test_without_its_svid_it_waits_and_so_do_its_clients(host: ProxyHost) -> None:
    options = Options(
        binary=host.binary, settings=replace(SETTINGS, identity="spiffe://root.example/other", grace=1)
    )
    async with started(host, options) as (runtime, process):
        reading = await until(runtime, process, lambda r: r.live is True)
        assert (reading.ready, reading.inbound_listening) == (False, True)
        assert judged(reading) == ("starting", Reason.PROXY_UNCERTIFIED)
        async with streams(dial(host.client, ADDRESS, proxy.INBOUND_PORT)) as (reader, _):
            _, hanging = await asyncio.wait({asyncio.create_task(reader.read())}, timeout=0.5)
            assert hanging
        # SIGTERM closes the admin port at once, and waits for a certificate as long as for connections.
        await runtime.terminate(process)
        assert (await runtime.wait(process)).reason is Reason.PROXY_STOPPED


# its end


async def test_sigterm_lets_open_connections_end_and_takes_no_new_ones(host: ProxyHost) -> None:
    async with serving(host) as (runtime, process), streams(dial(host.client, ADDRESS)) as (reader, writer):
        writer.write(b"\x00one\n")
        assert await reader.readuntil(b"one\n")
        assert (await runtime.inspect(process)).in_flight == 1
        await runtime.terminate(process)
        await until(runtime, process, lambda reading: reading.live is False)
        with pytest.raises(ConnectionRefusedError):
            dial(host.client, ADDRESS)
        writer.write(b"two\n")
        writer.write_eof()
        assert await reader.read() == b"two\nend"
        assert (await runtime.wait(process)).reason is Reason.PROXY_STOPPED


async def flows(writer: asyncio.StreamWriter, reader: asyncio.StreamReader, text: bytes) -> None:
    """There and back."""
    writer.write(text)
    assert await reader.readuntil(text)


@pytest.mark.parametrize("settings", [SETTINGS, OPAQUE], ids=["detected", "opaque"])
async def test_the_grace_period_ends_what_does_not_end(host: ProxyHost, settings: ProxySettings) -> None:
    await grace_ends(host, settings, lambda: dial(host.client, ADDRESS))


async def grace_ends(host: ProxyHost, settings: ProxySettings, dialled: Callable[[], socket.socket]) -> None:
    """A raw stream. The client sees an end, and no reset: what it has sent was read."""
    async with (
        serving(host, settings) as (runtime, process),
        streams(dialled()) as (reader, writer),
    ):
        await flows(writer, reader, b"\x00one\n")
        await runtime.terminate(process)
        await until(runtime, process, lambda reading: reading.live is False)
        await flows(writer, reader, b"two\n")
        assert await reader.read() == b""
        assert (await runtime.wait(process)).reason is Reason.PROXY_STOPPED


# environment and exits


async def run(host: ProxyHost, **changes: str | None) -> int:
    """The exit code with variables changed, or taken out (None)."""
    whole = proxy.environment(SETTINGS, host.path("anchors.pem").read_text())
    changed = whole | {f"LINKERD2_PROXY_{name}": value for name, value in changes.items() if value is not None}
    kept = [
        f"{k}={v}" for k, v in changed.items() if changes.get(k.removeprefix("LINKERD2_PROXY_"), "") is not None
    ]
    command = host.command("setpriv", f"--reuid={UID}", "env", "-i", *kept, host.binary)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
    )
    async with asyncio.timeout(30):
        return await process.wait()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"IDENTITY_TRUST_ANCHORS": None}, 64),
        ({"IDENTITY_TRUST_ANCHORS": "junk"}, 1),
        ({"IDENTITY_SERVER_ID": None}, 64),
        ({"IDENTITY_SERVER_ID": "vm-1.example"}, 64),
        ({"IDENTITY_SERVER_NAME": None}, 64),
        ({"IDENTITY_SPIRE_WORKLOAD_API_ADDRESS": None}, 64),
        ({"DESTINATION_SVC_ADDR": None}, 64),
        ({"DESTINATION_SVC_ADDR": "192.0.2.1:8086", "DESTINATION_SVC_NAME": None}, 64),
        ({"POLICY_SVC_ADDR": None}, 64),
        ({"POLICY_WORKLOAD": None}, 64),
        ({"INBOUND_IPS": ""}, 64),
        ({"INBOUND_PORTS": "http"}, 64),
        ({"INBOUND_LISTEN_ADDR": "junk"}, 64),
        ({"INBOUND_DEFAULT_POLICY": "some"}, 64),
        ({"INBOUND_DEFAULT_POLICY": "cluster-authenticated"}, 64),
        ({"ADMIN_LISTEN_ADDR": ""}, 64),
        ({"SHUTDOWN_GRACE_PERIOD": "5"}, 64),
    ],
)
async def test_what_it_refuses_to_start_with(host: ProxyHost, changes: dict[str, str | None], code: int) -> None:
    assert await run(host, **changes) == code


@pytest.mark.parametrize(
    ("address", "port", "code"), [("0.0.0.0", 4143, 101), ("127.0.0.1", 4140, 101), ("127.0.0.1", 4191, 1)]
)
async def test_ports_that_are_taken(host: ProxyHost, address: str, port: int, code: int) -> None:
    with host.network.inside(partial(listen, address, port)):
        assert await run(host) == code


# the admin port


async def test_admin_pages(host: ProxyHost) -> None:
    async with serving(host):
        assert await page(host, "/live") == ("200", "live\n")
        assert await page(host, "/ready") == ("200", "ready\n")
        assert (await page(host, "/nothing"))[0] == "404"
        found = json.loads((await page(host, "/env.json?LINKERD2_PROXY_INBOUND_IPS"))[1])
        assert found == {"LINKERD2_PROXY_INBOUND_IPS": f"{ADDRESS},{ADDRESS6}"}


async def test_the_admin_port_shuts_nothing_down_unless_told_that_it_may(host: ProxyHost) -> None:
    async with serving(host):
        assert (await page(host, "/shutdown"))[0] == "405"
        assert (await page(host, "/shutdown", "POST"))[0] == "404"
        assert (await page(host, "/live"))[0] == "200"
