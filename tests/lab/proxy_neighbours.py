"""What runs on a machine beside its proxy: a Workload API, an API server, an application, and a program that dials
out. Each server returns the client's address, so a connection that bypassed the proxy is recognized.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import ssl
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab import installed

if TYPE_CHECKING:
    from agent.sandbox.identity.ca import Authority

TRUST_DOMAIN = "root.example"
IDENTITY = f"spiffe://{TRUST_DOMAIN}/vm-1"
ADDRESS, CLIENT_ADDRESS, PORT = "192.0.2.7", "192.0.2.8", 8080
ADDRESS6, CLIENT_ADDRESS6 = "2001:db8::7", "2001:db8::8"
OUTSIDE = ("198.51.100.1", 80)  # who is reached through the proxy: the client, by another address
OUTSIDE6 = ("2001:db8:51::1", 80)
DIRECT, PROXIED, RESET, SILENT = "direct", "proxied", "reset", "silent"  # what a client gets
TOKEN = "nobody's"
SOCKET = "/run/spire/api.sock"
CLIENT_SVID = "/run/spire/client.pem"  # key and certificate of a meshed client
NEXT_ROOT = "/run/spire/next.pem"  # after SIGHUP to the Workload API, which then has two roots


async def _workload_api(controllers: bool) -> None:
    """`controllers`: those of Linkerd's too, for the same key proves who they are."""
    from agent.sandbox.identity.ca import Authority
    from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer

    # The authority lives here: what trusts it is written by who holds its key.
    authority = Authority(TRUST_DOMAIN)
    client = authority.svid(f"spiffe://{TRUST_DOMAIN}/client", 3600)
    _trust(authority.pem, client.key_pem + client.cert_pem)
    running = asyncio.get_running_loop()
    entries = {uid: (Entry(IDENTITY),) for uid in (installed.USERS["fairlead-proxy"], installed.USERS["fairlead"])}
    async with WorkloadApiServer(Path(SOCKET), authority, entries, ttl=3600.0) as server:

        def prepare_rotation() -> None:
            """The bundle has the next root, too. Before, /run/spire/next.pem is written."""
            fresh = Authority(TRUST_DOMAIN)
            Path(NEXT_ROOT).write_text(fresh.pem)
            authority.der += fresh.der
            server.rotate()

        running.add_signal_handler(signal.SIGHUP, prepare_rotation)
        if controllers:
            await _control(authority)
        _ready()
        await asyncio.Event().wait()


async def _control(authority: Authority) -> None:
    """At the host's address: linkerd2-proxy speaks no TLS to a controller on loopback."""
    from agent.sandbox.api.server import ApiServer
    from agent.sandbox.proxy.controllers import Controllers

    api = ApiServer({})
    for body in _objects():
        api.create(body)
    await Controllers(authority, ADDRESS, api).start()


def _trust(pem: str, client: str) -> None:
    Path("/etc/fairlead/trust-anchors.pem").write_text(pem)
    Path(SOCKET).parent.mkdir(exist_ok=True)
    Path(CLIENT_SVID).write_text(client)


async def _cluster() -> None:
    """An API server with this host's ExternalWorkload and Lease, as they were before any agent."""
    from agent.sandbox.api.server import ApiServer

    api = ApiServer({TOKEN: "vm-1"})
    for body in _objects():
        api.create(body)
    await api.start("127.0.0.1", 6443, ssl_context=_certified())
    _ready()
    await asyncio.Event().wait()


def _certified() -> ssl.SSLContext:
    from agent.sandbox.identity.ca import Authority

    authority = Authority("cluster.example")
    Path("/etc/fairlead/api-ca.pem").write_text(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as pem:
        pem.write("".join(reversed(authority.tls_server(["127.0.0.1"]))))
        pem.flush()
        context.load_cert_chain(pem.name)
    return context


def _objects() -> list[dict[str, Any]]:
    metadata = {"name": "vm-1", "namespace": "mixed"}
    spec = {
        "meshTLS": {"identity": IDENTITY, "serverName": "vm-1.mixed.example"},
        "workloadIPs": [{"ip": address} for address in _addresses()],
        "ports": [{"port": PORT, "name": "http", "protocol": "TCP"}],
    }
    workload = {"apiVersion": "workload.linkerd.io/v1beta1", "kind": "ExternalWorkload"}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    return [{**workload, "metadata": metadata, "spec": spec}, {**lease, "metadata": metadata, "spec": {}}]


def _addresses() -> list[str]:
    """As they are configured."""
    found: list[str] = tomllib.loads(Path("/etc/fairlead/fairlead.toml").read_text())["host"]["addresses"]
    return found


def _dial_out() -> str:
    outside = OUTSIDE6 if _addresses() == [ADDRESS6] else OUTSIDE
    try:
        with socket.create_connection(outside, timeout=5) as connection:
            mine, told = connection.getsockname()[1], connection.recv(100)
    except (ConnectionResetError, ConnectionRefusedError):
        return RESET
    except OSError:
        return SILENT
    if not told:
        return RESET
    return DIRECT if told == f"{mine}\n".encode() else PROXIED


def _impatient_agent() -> None:
    """An agent that waits for seconds instead of half a minute."""
    from agent.adapters import proxy_unit
    from agent.cli import main
    from agent.loops import proxy

    proxy.UNCERTIFIED_FOR, proxy_unit.LOGS_EVERY = 4.0, 1.0
    sys.exit(main.main(["run"]))


def _dial_on() -> None:
    """Until its standard input ends."""
    while not select.select([sys.stdin], [], [], 0)[0]:
        print(_dial_out(), flush=True)


async def _application() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        writer.write(f"application {peer}\n".encode())
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, ("0.0.0.0", "::"), PORT)
    _ready()
    await server.serve_forever()


def _ready() -> None:
    from agent.adapters.systemd import SystemdNotifier

    SystemdNotifier(os.environ).notify("READY=1")


if __name__ == "__main__":
    match sys.argv[1]:
        case "workload-api":
            asyncio.run(_workload_api(controllers="controllers" in sys.argv))
        case "cluster":
            asyncio.run(_cluster())
        case "application":
            asyncio.run(_application())
        case "agent":
            _impatient_agent()
        case "dial-out":
            _dial_on()
