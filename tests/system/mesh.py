"""The mesh around a host with the installed package: cluster, client and SPIRE's part, all outside of it.

One thread has them in a network namespace of its own, from which a wire leads to the machine. The Workload API is
a socket in a folder that the machine sees. The package has no stand-in for linkerd2-proxy; that comes from this
checkout, by an interpreter that no upgrade of the package touches.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from agent.core.prepared import STARTING
from agent.sandbox.api.server import EXTERNAL_WORKLOADS, ApiServer
from agent.sandbox.api.store import Place
from agent.sandbox.identity.ca import Authority
from agent.sandbox.identity.jwt_authority import JwtAuthenticator, JwtAuthority
from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer
from agent.sandbox.proxy.controllers import Controllers
from agent.sandbox.stage import greetings, network, scene
from agent.sandbox.stage.client import Load, ask
from agent.sandbox.stage.pod import pod
from agent.sandbox.stage.scene import (
    AUDIENCE,
    ENTRIES_OF_AGENT,
    ENTRIES_OF_PROXY,
    ISSUER,
    NAME,
    NAMESPACE,
    PORT,
    TRUST_DOMAIN,
)
from agent.sandbox.stage.upgrade import Chooser
from tests.lab import netns, proxy_deliveries
from tests.lab.machine import Machine, Wire
from tests.system import built_packages
from tests.system.built_packages import ROOT
from tests.system.host import CONFIG

T = TypeVar("T")
HOST, CLUSTER, API_PORT = network.HOST, network.CLUSTER, 6443
OTHER = network.SECOND.address  # the Service's other host, which stays
URL = f"http://{HOST}:{PORT}/"
USERS = ("fairlead", "fairlead-proxy")
OLDER = "0.0.9"
AGENT, PROXY = "fairlead.service", "fairlead-proxy.service"
READY, WITHIN = ("True", "HostReady"), 90.0
_SPIRE = "/opt/spire"
# The package's own interpreter, and what the stand-ins want beyond its libraries: of an old Debian too.
_SHEBANG = "#!/opt/base/bin/python -IB\n"
_START = "import sys\nsys.path.insert(0, '/opt/tree')\nsys.path.append('/opt/site')\n"
# One that a test made deaf ignores SIGTERM.
_DEAF = """
import os, signal
if os.path.exists("/opt/spire/deaf"):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
"""
PROXY_PROGRAM = f"{_SHEBANG}{_START}{_DEAF}from agent.sandbox.proxy.program import main\nsys.exit(main())\n"
_STAND_IN = "/usr/local/bin/stand-in"  # MODULE ARGUMENT...
_ANY = f"{_SHEBANG}{_START}import runpy\nrunpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)\n"
_UNIT = f"""\
[Service]
ExecStart={_STAND_IN} agent.sandbox.stage.app {HOST}:{PORT}
[Install]
WantedBy=multi-user.target
"""


@dataclass
class Mesh:
    """`folder`: where the Workload API's socket is. `addresses`: of the host's workload."""

    space: netns.Namespace
    folder: Path
    addresses: tuple[str, ...] = network.FIRST.addresses
    _entered: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.authority = Authority(TRUST_DOMAIN)
        self.keys = JwtAuthority(TRUST_DOMAIN, ISSUER)
        self.api = ApiServer({scene.WRITERS_TOKEN: "linkerd-destination"})
        self.chooser = Chooser(self.api)
        self.api.authenticators = [JwtAuthenticator(self.keys, [AUDIENCE])]
        self.spire = WorkloadApiServer(self.folder / "api.sock", self.authority, ttl=600.0, jwt=self.keys)

    @contextmanager
    def standing(self) -> Iterator[Mesh]:
        """Both servers are up inside."""
        thread = threading.Thread(target=lambda: self.space.inside(lambda: asyncio.run(self._stand())))
        thread.start()
        try:
            assert self._entered.wait(60)
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._end.set)
            thread.join()

    async def _stand(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self.api.create(scene.external_workload(NAME, self.addresses))
        self.api.create(scene.lease(NAME))
        self.api.create(scene.external_workload("db-2", network.SECOND.addresses))
        ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "HostReady"}]}
        other = Place(EXTERNAL_WORKLOADS, NAMESPACE, "db-2")
        self.api.store.patch(other, lambda body: {**body, "status": ready}, status=True)
        certificate, key = self.authority.tls_server([CLUSTER])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
            pem.write(key + certificate)
            pem.flush()
            context.load_cert_chain(pem.name)
        async with AsyncExitStack() as stack:
            controllers = Controllers(self.authority, CLUSTER, self.api)
            await controllers.start()
            stack.push_async_callback(controllers.stop)
            await self.api.start(CLUSTER, API_PORT, ssl_context=context)
            stack.push_async_callback(self.api.stop)
            stack.callback(self.api.cut)  # a host that lost its power closes no connection
            await self.spire.start()
            stack.push_async_callback(self.spire.stop)
            await stack.enter_async_context(pod(OTHER, PORT))
            await stack.enter_async_context(scene.slice_writer(self.authority, self.api, delay=0.0))
            choosing = asyncio.create_task(self.chooser.run())
            stack.callback(choosing.cancel)
            self._entered.set()
            await self._end.wait()

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(60)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """In the loop of the servers."""

        async def act() -> None:
            function(*arguments)

        self.do(act())

    def entitle(self, uid: int, *entries: Entry) -> None:
        """What SPIRE has for a user from now on."""

        async def register() -> None:
            self.spire.register(uid, *entries)

        self.do(register())

    # what is to be seen -------------------------------------------------------------------------

    def ready(self) -> tuple[str, str]:
        """Status and reason of Ready, as the API server has them."""
        conditions = self.api.get(EXTERNAL_WORKLOADS, NAMESPACE, NAME).get("status", {}).get("conditions", [])
        return next(((c["status"], c["reason"]) for c in conditions if c["type"] == "Ready"), ("", ""))

    def status_writes(self) -> int:
        return sum(one.path.endswith("/status") and one.method != "GET" for one in self.api.requests)

    def asked(self) -> str:
        """Who asked the application, as it says: the host itself, behind the proxy. "": no connection."""
        try:
            return str(self.do(ask(URL))["from"])
        except (aiohttp.ClientError, TimeoutError):
            return ""

    def mailed(self) -> str:
        """The client address that the mail server saw. "": no greeting."""
        try:
            return self.do(greetings.seen())
        except (OSError, TimeoutError):
            return ""

    def start_mail(self, machine: Machine) -> None:
        program = (_STAND_IN, "agent.sandbox.stage.greeter", greetings.SMTP, f"{HOST}:{greetings.MAIL_PORT}")
        machine.run("systemd-run", "--unit=mail", *program)

    def listed(self) -> set[str]:
        """The hosts that EndpointSlices offer to clients."""
        return set(scene.listed(self.api))

    @contextmanager
    def under_load(self, url: str | Callable[[], str] = URL) -> Iterator[Load]:
        """Requests arrive throughout, each over a connection of its own."""
        load = Load(url)

        async def begin() -> asyncio.Task[None]:
            return asyncio.create_task(load.run())

        async def end() -> None:
            running.cancel()
            await asyncio.wait([running])

        running = self.do(begin())
        try:
            yield load
        finally:
            self.do(end())


@contextmanager
def beside(suite: str, addresses: tuple[str, ...] = network.FIRST.addresses) -> Iterator[tuple[Machine, Mesh]]:
    """A machine that has never seen fairlead, not yet booted, and the mesh that it is to become a member of."""
    with tempfile.TemporaryDirectory(prefix="fairlead-spire-") as folder, netns.namespace() as space:
        Path(folder).chmod(0o755)
        binds = [(Path(folder), _SPIRE), (built_packages.tree(), "/opt/base"), (ROOT / "agent", "/opt/tree/agent")]
        binds.append((Path(sysconfig.get_path("purelib")), "/opt/site"))
        wire = Wire((f"{HOST}/24", f"{network.HOST6}/64"), space, (f"{CLUSTER}/24", f"{network.CLUSTER6}/64"))
        with Machine(suite=suite, binds=binds, wires=[wire]) as machine:
            machine.write(_STAND_IN, _ANY, mode=0o755)
            machine.write("/etc/systemd/system/app.service", _UNIT)
            wanted = machine.path("/etc/systemd/system/multi-user.target.wants/app.service")
            wanted.parent.mkdir(exist_ok=True)
            wanted.symlink_to("/etc/systemd/system/app.service")
            # The cluster is there before the wire, and outlives it.
            for address in (CLUSTER, OTHER):
                space.ip(f"addr add {address}/32 dev lo")
            with Mesh(space, Path(folder), addresses).standing() as mesh, machine.powered():
                yield machine, mesh


def admit(machine: Machine, mesh: Mesh) -> None:
    """What an administrator does after the installation, up to the start."""
    entitle(machine, mesh)
    machine.write("/etc/fairlead/anchors.pem", mesh.authority.pem)
    machine.write("/etc/fairlead/api-ca.pem", mesh.authority.pem)
    text = scene.configuration(NAME, network.FIRST, Path(CONFIG).parent, Path(_SPIRE) / "api.sock")
    machine.write(CONFIG, text.replace(json.dumps(network.FIRST.addresses), json.dumps(mesh.addresses)))
    install_proxy(machine)


def entitle(machine: Machine, mesh: Mesh) -> None:
    """SPIRE's entries for agent and proxy."""
    for user, entries in zip(USERS, (ENTRIES_OF_AGENT, ENTRIES_OF_PROXY), strict=True):
        mesh.spire.register(int(machine.run("id", "-u", user)), *entries)


def install_proxy(machine: Machine) -> None:
    with tempfile.TemporaryDirectory() as folder:
        release, digest = proxy_deliveries.release(Path(folder), binary=PROXY_PROGRAM.encode())
        shutil.copy(release, machine.path("/root"))
    # As docs/proxy.md has it: a release and the list of checksums that lies beside it.
    machine.write(f"/root/{release.name}.txt", f"{digest}  {release.name}\n")
    words = ("install", f"/root/{release.name}", "--checksums", f"/root/{release.name}.txt")
    assert "is installed, and current" in machine.run("fairlead", "proxy", *words)


# what is to be seen of the host --------------------------------------------------------------------


def pid(machine: Machine, unit: str) -> int:
    """0: none runs. A start of the proxy that waits is none."""
    found = machine.show(unit, "MainPID")["MainPID"]
    return 0 if machine.try_run("cat", f"/proc/{found}/comm").stdout.strip() == STARTING else int(found)


def rules(machine: Machine) -> str:
    """Of fairlead, without what they counted; "": none."""
    return machine.try_run("nft", "--stateless", "list", "table", "inet", "fairlead").stdout


def until_ready(machine: Machine, mesh: Mesh) -> None:
    machine.wait_until(lambda: mesh.ready() == READY, f"{READY}", WITHIN)


def until_a_new_agent(machine: Machine, old: int) -> None:
    """Its unit is active only once each of its facts has a first value."""

    def there() -> bool:
        found = machine.show(AGENT, "MainPID", "ActiveState")
        return found["ActiveState"] == "active" and int(found["MainPID"]) not in (0, old)

    machine.wait_until(there, "a new agent", WITHIN)
