"""A machine on which systemd owns a proxy; with a Workload API and an application, units as well, and a client.

By hand: `machine` of `booted` is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

from tests import installed, netns, proxyhost
from tests.machine import Machine, Wire

TRUST_DOMAIN = "root.example"
IDENTITY = f"spiffe://{TRUST_DOMAIN}/vm-1"
ADDRESS, CLIENT_ADDRESS, PORT = "192.0.2.7", "192.0.2.8", 8080
UID = installed.USERS["fairlead-proxy"]
PROXY = "fairlead-proxy.service"
BINARY = "/var/lib/fairlead/proxy/current/linkerd2-proxy"
SOCKET = "/run/spire/api.sock"
_PYTHON = "/usr/lib/fairlead/bin/python"

CONFIG = f"""\
[workload]
name = "vm-1"
namespace = "mixed"
identity = "{IDENTITY}"
server_name = "vm-1.mixed.example"
ports = [{PORT}]
[host]
addresses = ["{ADDRESS}"]
[identity]
workload_api = "{SOCKET}"
trust_anchors = "/etc/fairlead/trust-anchors.pem"
[api]
server = "https://127.0.0.1:1"
ca = "/etc/fairlead/trust-anchors.pem"
token_file = "/etc/fairlead/token"
[proxy]
binary = "{BINARY}"
grace = {{grace}}
[control_plane]
destination = "127.0.0.1:1"
policy = "127.0.0.1:1"
[redirect]
inbound_failure = "{{inbound}}"
outbound_failure = "{{outbound}}"
outbound_networks = ["198.51.100.0/24"]
# Some clients here dial without a pause, so the drain at a shutdown always takes its whole time.
[drain]
settle = 1
timeout = 3
"""
_UNIT = f"""\
[Service]
Type=notify
NotifyAccess=all
Environment=PYTHONPATH={installed.LIBRARY}
ExecStart={_PYTHON} -P -m tests.proxymachine {{what}}
"""
# The network comes up as networkd and its like bring it up: after network-pre.target.
_WIRE = """\
[Unit]
Wants=network-pre.target
After=network-pre.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set group default up
[Install]
WantedBy=multi-user.target
"""
_STAND_IN = f"""\
#!{_PYTHON} -IB
import os, sys
sys.path.insert(0, "{installed.LIBRARY}")
os.environ.update({{switches!r}})
from agent.sandbox.proxy import main
sys.exit(main())
"""


def configure(machine: Machine, grace: int = 3, inbound: str = "closed", outbound: str = "open") -> None:
    text = CONFIG.format(grace=grace, inbound=inbound, outbound=outbound)
    machine.write("/etc/fairlead/fairlead.toml", text)


def stand_in(machine: Machine, **switches: str) -> None:
    """The proxy's binary is the stand-in, with these switches (STANDIN_…)."""
    machine.write(BINARY, _STAND_IN.format(switches=switches), 0o755)


def program(machine: Machine, text: str) -> None:
    """The proxy's binary is this script."""
    machine.write(BINARY, text, 0o755)


def real(machine: Machine, path: str) -> None:
    place = machine.path(BINARY)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, place)
    place.chmod(0o755)


def equip(machine: Machine) -> None:
    """Before its first boot: files and units; the Workload API and an application start with the machine."""
    machine.write("/etc/fairlead/token", "nobody's")
    machine.write("/etc/systemd/system/wire.service", _WIRE)
    configure(machine)
    stand_in(machine)
    for name, what in (("workload-api", "workload-api"), ("application", "application")):
        machine.write(f"/etc/systemd/system/{name}.service", _UNIT.format(what=what))


@contextmanager
def booted(binary: str | None = None) -> Iterator[tuple[Machine, netns.Namespace]]:
    """The machine, and the network of a client beside it. `binary`: a real linkerd2-proxy."""
    with netns.namespace() as client, Machine(binds=installed.BINDS) as machine:
        machine.wires = [Wire((f"{ADDRESS}/24",), client, (f"{CLIENT_ADDRESS}/24",), held=True)]
        installed.install(machine)
        equip(machine)
        if binary is not None:
            real(machine, binary)
        with machine.powered():
            installed.compile(machine)
            machine.systemctl("enable", "--now", "wire.service")
            machine.systemctl("start", "workload-api", "application", "fairlead-door.socket")
            yield machine, client


@asynccontextmanager
async def agent(machine: Machine) -> AsyncIterator[proxyhost.RemoteRuntime]:
    """An agent on the machine, as its own user; at the end it dies with no last word."""
    settings = replace(proxyhost.SETTINGS, addresses=(ADDRESS,), workload_api=SOCKET)
    command = machine.command(_PYTHON, "-P", "-m", "tests.proxyhost", "agent", user="fairlead")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, env={"PYTHONPATH": installed.LIBRARY}, limit=1 << 24
    )
    runtime = proxyhost.RemoteRuntime(process, proxyhost.UnitOptions(settings))
    try:
        yield runtime
        await runtime.die()
    finally:
        await runtime.close()


def quiet(machine: Machine) -> None:
    """As a freshly booted one: nothing of fairlead runs; no rule, crash or approved configuration is kept."""
    machine.systemctl("stop", "fairlead.service", PROXY)
    machine.systemctl("start", "workload-api")
    state = "approved tried phase redirect-suspended"
    machine.run("sh", "-c", f"cd /var/lib/fairlead; rm -rf {state} /run/fairlead-proxy/*; nft flush ruleset")


# inside --------------------------------------------------------------------------------------------


async def _workload_api() -> None:
    from agent.sandbox.ca import Authority
    from agent.sandbox.workload_api import Entry, WorkloadApiServer

    # The authority lives here: what trusts it is written by who holds its key.
    authority = Authority(TRUST_DOMAIN)
    _trust(authority.pem)
    entries = {uid: (Entry(IDENTITY),) for uid in (UID, installed.USERS["fairlead"])}
    async with WorkloadApiServer(Path(SOCKET), authority, entries, ttl=3600.0):
        _ready()
        await asyncio.Event().wait()


def _trust(pem: str) -> None:
    Path("/etc/fairlead/trust-anchors.pem").write_text(pem)
    Path(SOCKET).parent.mkdir(exist_ok=True)


async def _application() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        writer.write(f"application {peer}\n".encode())
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", PORT)
    _ready()
    await server.serve_forever()


def _ready() -> None:
    from agent.adapters.systemd import SystemdNotifier

    SystemdNotifier(os.environ).notify("READY=1")


if __name__ == "__main__":
    asyncio.run({"workload-api": _workload_api, "application": _application}[sys.argv[1]]())
