"""A machine on which systemd owns a proxy, with the units of tests.lab.proxy_neighbours beside it, and a client.

By hand: `machine` of `booted` is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from subprocess import PIPE

from agent.core.prepared import STARTING
from tests.lab import child_proxies, installed, memory_cgroup, netns
from tests.lab.machine import Machine, Wire
from tests.lab.proxy_neighbours import (
    ADDRESS,
    ADDRESS6,
    CLIENT_ADDRESS,
    CLIENT_ADDRESS6,
    DIRECT,
    IDENTITY,
    OUTSIDE,
    OUTSIDE6,
    PORT,
    PROXIED,
    RESET,
    SILENT,
    SOCKET,
    TOKEN,
)

UID = installed.USERS["fairlead-proxy"]
PROXY = "fairlead-proxy.service"
STANDBY = "fairlead-proxy-standby.service"
VERSION = "2.366.0"
_VERSIONS = "/var/lib/fairlead/proxy"
BINARY = f"{_VERSIONS}/{VERSION}/linkerd2-proxy"
_PYTHON = "/usr/lib/fairlead/bin/python"

CONFIG = f"""\
[workload]
name = "vm-1"
namespace = "mixed"
identity = "{IDENTITY}"
server_name = "vm-1.mixed.example"
ports = [{PORT}]
opaque_ports = [{PORT}]
[host]
addresses = ["{{address}}"]
[identity]
workload_api = "{SOCKET}"
trust_anchors = "/etc/fairlead/trust-anchors.pem"
[api]
server = "https://127.0.0.1:6443"
ca = "/etc/fairlead/api-ca.pem"
token_file = "/etc/fairlead/token"
[proxy]
grace = {{grace}}
[control_plane]
destination = "{{authority}}:8086"
policy = "{{authority}}:8090"
[redirect]
inbound_failure = "{{inbound}}"
outbound_failure = "{{outbound}}"
outbound_networks = ["198.51.100.0/24", "2001:db8:51::/64"]
[drain]
settle = 1
timeout = {{drain}}
"""
_UNIT = f"""\
[Unit]
Before=fairlead-drain.service
[Service]
Type=notify
NotifyAccess=all
Environment=PYTHONPATH={installed.LIBRARY}
ExecStart={_PYTHON} -P -m tests.lab.proxy_neighbours {{what}}
"""
# The network comes up as networkd and its like bring it up: after network-pre.target.
_WIRE = f"""\
[Unit]
Wants=network-pre.target
After=network-pre.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set group default up
ExecStart=ip route add 198.51.100.0/24 via {CLIENT_ADDRESS}
ExecStart=ip route add 2001:db8:51::/64 via {CLIENT_ADDRESS6}
[Install]
WantedBy=multi-user.target
"""
# Not by the shell that stands before the interpreter there: it would be seen in the proxy's environment.
_STAND_IN = f"""\
#!{_PYTHON}3 -IB
import os, sys
sys.path.insert(0, "{installed.LIBRARY}")
os.environ.update({{switches!r}})
from agent.sandbox.proxy.program import main
sys.exit(main())
"""


_GROUPS = "/sys/fs/cgroup/memory"
_MEMORY_V1 = f"""
mkdir -p {_GROUPS} /run/memory-v1
mount -t cgroup -o memory cgroup /run/memory-v1
mkdir -p "/run/memory-v1/$0/system.slice/$1"
mount --bind "/run/memory-v1/$0" {_GROUPS}
umount /run/memory-v1
"""
_NO_MEMORY_V1 = f"""
rmdir "{_GROUPS}/system.slice/$1" {_GROUPS}/system.slice
umount {_GROUPS}
"""


def configuration(
    grace: int = 3, inbound: str = "closed", outbound: str = "open", drain: int = 3, address: str = ADDRESS
) -> str:
    """The control plane is at the host's own address, where nothing listens unless a real proxy runs here."""
    return CONFIG.format(
        grace=grace,
        inbound=inbound,
        outbound=outbound,
        drain=drain,
        address=address,
        authority=f"[{address}]" if ":" in address else address,
    )


def configure(
    machine: Machine,
    grace: int = 3,
    inbound: str = "closed",
    outbound: str = "open",
    drain: int = 3,
    address: str = ADDRESS,
) -> None:
    machine.write("/etc/fairlead/fairlead.toml", configuration(grace, inbound, outbound, drain, address))


def stand_in(machine: Machine, version: str = VERSION, **switches: str) -> None:
    """This version of the proxy is the stand-in, with these switches (STANDIN_…)."""
    answered = {"STANDIN_ANSWERED": "1", **switches}  # there is no control plane
    machine.write(f"{_VERSIONS}/{version}/linkerd2-proxy", _STAND_IN.format(switches=answered), 0o755)


def use(machine: Machine, version: str = VERSION) -> None:
    """This version is the current one, and there was none before."""
    versions = machine.path(_VERSIONS)
    for name in ("current", "previous", "standby"):
        (versions / name).unlink(missing_ok=True)
    (versions / "current").symlink_to(version)


def program(machine: Machine, text: str, version: str = VERSION) -> None:
    """This version of the proxy is this script."""
    machine.write(f"{_VERSIONS}/{version}/linkerd2-proxy", text, 0o755)


def real(machine: Machine, path: str) -> None:
    place = machine.path(BINARY)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, place)
    place.chmod(0o755)


def equip(machine: Machine) -> None:
    """Before its first boot: files and units; the Workload API and an application start with the machine."""
    machine.write("/etc/fairlead/token", TOKEN)
    machine.write("/etc/systemd/system/wire.service", _WIRE)
    configure(machine)
    stand_in(machine)
    use(machine)
    for what in ("workload-api", "application", "cluster"):
        machine.write(f"/etc/systemd/system/{what}.service", _UNIT.format(what=what))


@contextmanager
def booted(binary: str | None = None) -> Iterator[tuple[Machine, netns.Namespace]]:
    """The machine, and the network of a client beside it. `binary`: a real linkerd2-proxy, which is not ready
    before a policy controller has answered it."""
    with netns.namespace() as client, _outside(client), Machine(binds=installed.BINDS) as machine:
        its, others = (f"{ADDRESS}/24", f"{ADDRESS6}/64"), (f"{CLIENT_ADDRESS}/24", f"{CLIENT_ADDRESS6}/64")
        machine.wires = [Wire(its, client, others, held=True)]
        installed.install(machine)
        equip(machine)
        if binary is not None:
            real(machine, binary)
            unit = _UNIT.format(what="workload-api controllers")
            machine.write("/etc/systemd/system/workload-api.service", unit)
        with machine.powered():
            installed.compile(machine)
            machine.systemctl("enable", "--now", "wire.service")
            machine.systemctl("start", "workload-api", "application", "fairlead-helper.socket")
            yield machine, client


@asynccontextmanager
async def agent(machine: Machine) -> AsyncIterator[child_proxies.RemoteRuntime]:
    """An agent on the machine, as its own user; at the end it is killed."""
    settings = replace(child_proxies.SETTINGS, addresses=(ADDRESS,), workload_api=SOCKET)
    command = machine.command(_PYTHON, "-P", "-m", "tests.lab.child_proxies", "agent", user="fairlead")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, env={"PYTHONPATH": installed.LIBRARY}, limit=1 << 24
    )
    runtime = child_proxies.RemoteRuntime(process, child_proxies.UnitOptions(settings))
    try:
        yield runtime
        await runtime.die()
    finally:
        await runtime.close()


@contextmanager
def _outside(client: netns.Namespace) -> Iterator[None]:
    """The client's servers answer each connection with the port that it has."""

    def serve(server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                connection, peer = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(f"{peer[1]}\n".encode())

    with contextlib.ExitStack() as stack:
        for place, family in ((OUTSIDE, socket.AF_INET), (OUTSIDE6, socket.AF_INET6)):
            client.ip(f"addr add {place[0]} dev lo" + (" nodad" if family == socket.AF_INET6 else ""))
            server = client.inside(partial(socket.create_server, place, family=family))
            serving = threading.Thread(target=serve, args=(stack.enter_context(server),))
            serving.start()
            stack.callback(serving.join)
            stack.callback(server.shutdown, socket.SHUT_RDWR)
        yield


@contextmanager
def dialling_out(machine: Machine) -> Iterator[list[str]]:
    """A program of the machine dials without a pause inside the block; all that it gets."""
    got: list[str] = []
    command = machine.command(_PYTHON, "-P", "-m", "tests.lab.proxy_neighbours", "dial-out")
    environment = {"PYTHONPATH": installed.LIBRARY}
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment) as caller:
        assert caller.stdin is not None and caller.stdout is not None
        reading = threading.Thread(target=lambda said: got.extend(map(str.strip, said)), args=(caller.stdout,))
        reading.start()
        try:
            yield got
        finally:
            caller.stdin.close()
            reading.join()


def quiet(machine: Machine) -> None:
    """As a freshly booted one: nothing of fairlead runs; no rule, crash or approved configuration is kept."""
    # Who may ask for a start goes first. The cluster has the workload of the configuration at its start.
    for unit in ("fairlead.service", "fairlead-helper@*.service", STANDBY, PROXY, "cluster"):
        machine.systemctl("stop", unit)
    machine.try_run("systemctl", "reset-failed", STANDBY)  # it may not be loaded
    machine.systemctl("start", "workload-api")
    use(machine)
    state = "approved tried phase redirect-suspended agent/replacement.json"
    here = "/run/fairlead-proxy/* /run/fairlead-prepared/* /run/fairlead-slot"
    machine.run("sh", "-c", f"cd /var/lib/fairlead; rm -rf {state} {here}; nft flush ruleset")


@contextmanager
def little_memory(machine: Machine) -> Iterator[Callable[[int], None]]:
    """The proxy's unit may take 192 MiB. Where the kernel counts memory by groups of version 1, systemd sees
    none of it; a process is brought by hand then into a group that lies where a systemd of that time has it."""
    drop_in = f"/run/systemd/system/{PROXY}.d/90-memory.conf"
    machine.write(drop_in, "[Service]\nMemoryMax=192M\nMemorySwapMax=0\n")
    machine.systemctl("daemon-reload")
    with contextlib.ExitStack() as stack:
        stack.callback(machine.systemctl, "daemon-reload")
        stack.callback(machine.path(drop_in).unlink)
        group = stack.enter_context(memory_cgroup.group(192 << 20)) if memory_cgroup.V1.is_dir() else None
        if group is not None:
            machine.run("sh", "-euc", _MEMORY_V1, group.name, PROXY)
            stack.callback(machine.run, "sh", "-euc", _NO_MEMORY_V1, group.name, PROXY)

        def enter(pid: int) -> None:
            if group is not None:
                machine.run("sh", "-c", f"echo {pid} > {_GROUPS}/system.slice/{PROXY}/cgroup.procs")

        yield enter


@contextmanager
def clean(machine: Machine) -> Iterator[Machine]:
    """For one test: as first configured, and quiet afterwards."""
    configure(machine)
    stand_in(machine)
    yield machine
    quiet(machine)


# what is to be seen ----------------------------------------------------------------------------------


def helper(machine: Machine, verb: str) -> dict[str, object]:
    program = [_PYTHON, "-S", "-P", "-m", "agent.privileged.helper"]
    told = machine.run("env", f"PYTHONPATH={installed.LIBRARY}", *program, input=json.dumps({"verb": verb}) + "\n")
    answer: dict[str, object] = json.loads(told)
    return answer


def started(machine: Machine) -> int:
    """The proxy is started and armed; its pid."""
    helper(machine, "proxy start")
    machine.wait_for(PROXY)
    return pid(machine)


def pid(machine: Machine) -> int:
    """0: none runs. A start that waits is none."""
    found = machine.show(PROXY, "MainPID")["MainPID"]
    return 0 if machine.try_run("cat", f"/proc/{found}/comm").stdout.strip() == STARTING else int(found)


def levels(machine: Machine) -> tuple[object, object]:
    answer = helper(machine, "redirect check")
    return answer["inbound"], answer["outbound"]


def dial(client: netns.Namespace, address: str = ADDRESS) -> str:
    """What a client gets of the application's port."""
    try:
        with client.inside(lambda: socket.create_connection((address, PORT), timeout=5)) as connection:
            connection.settimeout(5)
            connection.sendall(b"\x00hello\n")  # a proxy waits for the first bytes, to know the protocol
            told = connection.recv(100).decode()
    except (ConnectionResetError, ConnectionRefusedError):
        return RESET
    except OSError:  # no answer in time; no wire, while the machine boots
        return SILENT
    if not told:
        return RESET
    itself = told in (f"application {CLIENT_ADDRESS}\n", f"application {CLIENT_ADDRESS6}\n")
    return DIRECT if itself else PROXIED


@contextmanager
def dialling(client: netns.Namespace) -> Iterator[dict[str, float]]:
    """A client dials repeatedly inside the block; all that it got, with the moment of the first such dial, on the
    monotonic clock."""
    got: dict[str, float] = {}
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.05):  # so that at times none of its connections is open
            began = time.monotonic()
            got.setdefault(dial(client), began)

    caller = threading.Thread(target=run)
    caller.start()
    try:
        yield got
    finally:
        over.set()
        caller.join()
