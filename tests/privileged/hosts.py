"""A host in namespaces, with a privileged helper of its own: `host` is ours, `peer` is every other host."""

import contextlib
import errno
import http.server
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from agent.adapters.helper import PROGRAM, Helper, netfilter_socket
from agent.core import slots
from tests.lab.netns import Namespace, join, namespace

PROXY_UID = 2102
APP, SSH, UNDECLARED, INBOUND, OUTBOUND, ADMIN = 8080, 22, 9000, 4143, 4140, 4191

REDIRECTED = "var/lib/fairlead/redirected-ports"
CONFIG = """
[workload]
name = "db-1"
namespace = "shop"
identity = "spiffe://td/db-1"
server_name = "db-1.shop"
ports = [8080]
[host]
addresses = ["10.9.0.2", "fd09::2"]
[identity]
workload_api = "/run/spire.sock"
trust_anchors = "/etc/anchors.pem"
[api]
server = "https://10.42.0.8:6443"
ca = "/etc/ca.pem"
token_file = "/etc/token"
[proxy]
binary = "/bin/true"
user = 2102
[redirect]
outbound_networks = ["10.42.0.0/16", "fd42::/64"]
exempt = ["10.42.0.9:443", "[fd42::9]:443"]
inbound_failure = "closed"
"""


@dataclass(frozen=True)
class Family:
    """The addresses of one IP version. `exempt`: in the cluster's network, on port 443. `inside`: in the
    cluster's network, and this host's own."""

    version: int
    everywhere: str
    host: str
    peer: str
    cluster: str
    exempt: str
    inside: str
    elsewhere: str
    loopback: str


FAMILIES = (
    Family(
        4, "0.0.0.0", "10.9.0.2", "10.9.0.1", "10.42.0.7", "10.42.0.9", "10.42.0.200", "10.99.0.1", "127.0.0.1"
    ),
    Family(6, "::", "fd09::2", "fd09::1", "fd42::7", "fd42::9", "fd42::200", "fd99::1", "::1"),
)


@dataclass(frozen=True)
class Host:
    space: Namespace
    peer: Namespace
    prefix: Path

    def helper(self, *around: str) -> Helper:
        """`around`: the beginning of a command line that runs the privileged helper as its end."""
        command = self.space.command(*around, *PROGRAM)
        return Helper(str(self.prefix), command, netfilter=partial(self.space.inside, netfilter_socket))

    @property
    def config(self) -> Path:
        return self.prefix / "etc/fairlead/fairlead.toml"


def files(prefix: Path, config: str = CONFIG) -> None:
    """Its declared ports were redirected before: nothing dials the listeners of a test to hear a greeting."""
    (prefix / "etc/fairlead").mkdir(parents=True)
    (prefix / "var/lib/fairlead").mkdir(parents=True)
    (prefix / REDIRECTED).write_text("8080\n")
    (prefix / "etc/fairlead/fairlead.toml").write_text(config)


@contextlib.contextmanager
def wired_host(prefix: Path) -> Iterator[Host]:
    files(prefix)
    with namespace() as space, namespace() as peer:
        join(space, ["10.9.0.2/24", "fd09::2/64"], peer, ["10.9.0.1/24", "fd09::1/64"])
        for family in FAMILIES:
            no_wait = " nodad" if family.version == 6 else ""
            space.ip(f"addr add {family.inside} dev lo{no_wait}")
            for address in (family.cluster, family.exempt, family.elsewhere):
                peer.ip(f"addr add {address} dev lo{no_wait}")
                space.ip(f"route add {address} via {family.peer}")
        yield Host(space, peer, prefix)


# sockets -------------------------------------------------------------------------------------------

Place = tuple[str, int]


def dial(space: Namespace, address: str, port: int, uid: int = 1000, within: float = 5) -> socket.socket:
    """Raises ConnectionRefusedError on a reset."""
    made = space.inside(lambda: socket.socket(kind(address)), uid)
    made.settimeout(within)
    try:
        made.connect((address, port))
    except OSError:
        made.close()
        raise
    return made


def _server(address: str, port: int, alone: bool = False) -> socket.socket:
    """`alone`: of IPv6 and no other."""
    made = socket.socket(kind(address))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if alone:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((address, port))
    return made


def kind(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Listeners:
    """Sockets that listen, in any namespace. Close by leaving the context."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Listeners":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._stack.close()
        for each in self.sockets:
            each.close()

    def add(self, space: Namespace, address: str, *ports: int, uid: int = 0, alone: bool = False) -> None:
        for port in ports:
            made = space.inside(partial(_server, address, port, alone), uid)
            made.listen()
            self.sockets.append(made)

    def add_proxy(self, space: Namespace, uid: int = PROXY_UID) -> "Admin":
        """The listeners that linkerd2-proxy has on a host of both IP versions, and an admin port that reports
        health."""
        self.add_listeners(space, uid)
        return self.add_admin(space, uid)

    def add_families(self, space: Namespace, *ports: int) -> None:
        """For each IP version: applications on the host's address, and where the redirect leads."""
        for family in FAMILIES:
            self.add(space, family.host, *ports, INBOUND)
            self.add(space, family.loopback, OUTBOUND)

    def add_listeners(self, space: Namespace, uid: int = PROXY_UID) -> None:
        """One socket for each address, where the proxy's would be of both IP versions."""
        for family in FAMILIES:
            self.add(space, family.everywhere, INBOUND, uid=uid, alone=family.version == 6)
            self.add(space, family.loopback, OUTBOUND, uid=uid)

    def add_admin(self, space: Namespace, uid: int = PROXY_UID, port: int = ADMIN) -> "Admin":
        """An admin port alone, that reports health."""
        return self._stack.enter_context(admin_port(space, uid, port))

    def add_slot(self, space: Namespace, place: slots.Place, uid: int = PROXY_UID) -> "Admin":
        """The listeners of a proxy in that slot, and its admin port that reports health."""
        self.add(space, str(place.address), INBOUND, uid=uid)
        loopback = "127.0.0.1" if place.address.version == 4 else "::1"
        self.add(space, loopback, place.outbound_port, uid=uid)
        return self.add_admin(space, uid, place.admin_port)

    def accept(self) -> socket.socket:
        """The one connection that waits."""
        ready, _, _ = select.select(self.sockets, [], [], 5)
        assert len(ready) == 1
        connection: socket.socket = ready[0].accept()[0]
        connection.settimeout(5)
        return connection

    def silent(self) -> bool:
        """No connection waits."""
        return not select.select(self.sockets, [], [], 0)[0]

    def heard(self, space: Namespace, address: str, port: int, uid: int = 1000) -> tuple[Place, Place | None]:
        """Where a connection arrives, and where it was going by the kernel's tracking, if there is any."""
        with dial(space, address, port, uid), self.accept() as connection:
            return connection.getsockname()[:2], original(connection)

    def stream(self, space: Namespace, address: str, port: int) -> "Stream":
        return Stream(dial(space, address, port), self.accept())


@dataclass
class Admin:
    """What the admin port answers: HTTP status, what `/metrics` says of the certificate, and the ports that it was
    started with."""

    live: int = 200
    ready: int = 200
    metrics: int = 200
    expires: float = 4102444800.0  # seconds since the epoch
    answered: bool = True  # by the policy controller
    hangs: bool = False
    ports: str = "8080"
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str) -> tuple[int, str]:
        if self.hangs:
            self.over.wait()
        match path:
            case "/live":
                return self.live, "live"
            case "/ready":
                return self.ready, "ready"
            case "/env.json":
                return 200, json.dumps({"LINKERD2_PROXY_INBOUND_PORTS": self.ports})
        policy = 'addr="linkerd-policy.linkerd.svc.cluster.local:8090",tls="true",status_code="200"'
        text = f"control_identity_cert_expiration_timestamp_seconds {self.expires}\n"
        text += f"control_response_latency_ms_count{{{policy}}} {int(self.answered)}\n# EOF\n"
        return self.metrics, text


@contextlib.contextmanager
def admin_port(space: Namespace, uid: int, port: int = ADMIN) -> Iterator[Admin]:
    admin = Admin()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = admin.answer(self.path)
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = space.inside(partial(_server, "127.0.0.1", port), uid)
        server.socket.listen()
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield admin
        finally:
            admin.over.set()
            server.shutdown()
            thread.join()


class Stream:
    """An open connection; close by leaving the context."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._near, self._far = near, far

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._near.close()
        self._far.close()

    @property
    def arrived(self) -> Place:
        place: Place = self._far.getsockname()[:2]
        return place

    def flow(self) -> None:
        """Both directions still work."""
        self._near.sendall(b"ping")
        assert self._far.recv(4) == b"ping"
        self._far.sendall(b"pong")
        assert self._near.recv(4) == b"pong"


def original(connection: socket.socket) -> Place | None:
    """SO_ORIGINAL_DST; None where the connection is not tracked."""
    six = connection.family == socket.AF_INET6
    try:
        raw = connection.getsockopt(socket.IPPROTO_IPV6 if six else socket.SOL_IP, 80, 28 if six else 16)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOPROTOOPT):
            return None
        raise
    (port,) = struct.unpack_from("!H", raw, 2)
    return socket.inet_ntop(connection.family, raw[8:24] if six else raw[4:8]), port


# programs ------------------------------------------------------------------------------------------

_LISTENER = """
import ctypes, os, socket, sys
name, address, port = sys.argv[1:4]
ctypes.CDLL(None).setfsuid(int(sys.argv[4]))
listener = socket.create_server((address, int(port)), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
ctypes.CDLL(None).setfsuid(0)
open("/proc/self/comm", "wb").write(os.fsencode(name))
print("listens", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def listening(space: Namespace, name: str | bytes, address: str, port: int, uid: int = 0) -> Iterator[None]:
    """A process of that name listens, by a socket of `uid`."""
    command = space.command(sys.executable, "-c", _LISTENER, os.fsdecode(name), address, str(port), str(uid))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ}) as process:
        assert process.stdout and process.stdout.readline() == b"listens\n"
        try:
            yield
        finally:
            process.kill()


def with_nft(replacement: Path | str) -> tuple[str, ...]:
    """The beginning of a command line for which another file stands where nft is: its mounts are its own."""
    mounts = 'for nft in /usr/sbin/nft /sbin/nft /usr/bin/nft; do [ ! -e $nft ] || mount --bind "$0" $nft; done'
    return ("unshare", "--mount", "sh", "-c", f'{mounts}; exec "$@"', str(replacement))


def nft_and_then(folder: Path, more: str) -> Path:
    """A program like nft that does `more` of its own, once, after it has set rules."""
    real, path = folder / "real-nft", folder / "nft"
    shutil.copy(shutil.which("nft") or "", real)
    own = f"mkdir {path}.once 2>/dev/null && {real} {more}"
    path.write_text(f'#!/bin/sh\n{real} "$@" || exit\ncase "$*" in *-f*) {own};; esac\nexit 0\n')
    path.chmod(0o755)
    return path
