"""The scene: a host with an application, a cluster beside it, and the real agent on the host.

This process is the cluster: its network namespace holds API server, client and pod. The host is a network
namespace of its own, joined to it by a veth pair. The process that makes a scene is already in private namespaces.
"""

import asyncio
import contextlib
import os
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from agent.sandbox.api import slices
from agent.sandbox.api.server import EXTERNAL_WORKLOADS, SLICES, ApiServer
from agent.sandbox.api.slices import SliceWriter
from agent.sandbox.identity.ca import Authority
from agent.sandbox.identity.jwt_authority import JwtAuthenticator, JwtAuthority
from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer
from agent.sandbox.proxy import controllers
from agent.sandbox.proxy.controllers import Controllers
from agent.sandbox.stage import network
from agent.sandbox.stage.background import background
from agent.sandbox.stage.pod import pod

TRUST_DOMAIN = "root.linkerd.cluster.local"
NAMESPACE, NAME = "shop", "db-1"
IDENTITY = f"spiffe://{TRUST_DOMAIN}/{NAME}"
API_IDENTITY = f"{IDENTITY}/agent"
ENTRIES_OF_PROXY = (Entry(IDENTITY),)
ENTRIES_OF_AGENT = (*ENTRIES_OF_PROXY, Entry(API_IDENTITY))  # it alone speaks for the host at the API server
SERVER_NAME = f"{NAME}.{NAMESPACE}.external.identity.linkerd.cluster.local"
PORT, SSH_PORT, POD_PORT, API_PORT = 8080, 22, 80, 6443
AGENT_UID, PROXY_UID = 0, 2102
TOKEN = "sandbox-token"  # noqa: S105 - it is valid only for the server in this process
WRITERS_TOKEN = "sandbox-writer"  # noqa: S105 - likewise
SERVICE = "db"
AUDIENCE, ISSUER = "kubernetes", "https://spire-oidc.sandbox"


@dataclass
class Options:
    """What a scene differs in. `extra`: TOML at the end of the configuration. `token`: the host has a token file;
    else it comes to the API server with its JWT-SVID, and holds no secret at all."""

    token: bool = False
    proxy: Path | None = None
    svid_ttl: float = 20.0
    probe_period: float = 1.0
    extra: str = ""
    installed: bool = False  # no proxy is configured: the current one of those that are installed
    slice_delay: float = 0.0  # seconds from a Ready condition to the EndpointSlice
    log: int | None = None  # where the agent's log goes; None: a file
    replace: dict[str, str] = field(default_factory=dict)  # text in the configuration → other text
    port: int = PORT  # of the application
    bare: bool = False  # neither the host nor the cluster has anything of fairlead's
    versions: int = 2  # of IP that the workload has; 1: IPv4 alone
    app: str = "app"  # the module of the application


class Scene:
    """`base`: an empty directory; the host's files lie below `base`/host."""

    def __init__(
        self, base: Path, options: Options, beside: "Scene | None" = None, place: network.Host = network.SECOND
    ) -> None:
        """`beside`: the scene whose cluster this host shares, at `place`."""
        self.base, self.options, self._beside = base, options, beside
        self.place = place if beside else network.FIRST
        self.name = f"db-{self.place.number + 1}"
        self.prefix = base / self.place.namespace
        self.agent: asyncio.subprocess.Process | None = None
        self.app: asyncio.subprocess.Process | None = None
        self.agent_log = base / f"agent-{self.name}.log"
        if beside is not None:
            self._share(beside)
            return
        self.ca: Authority = Authority(TRUST_DOMAIN)
        socket = base / "workload-api.sock"
        entries = {AGENT_UID: ENTRIES_OF_AGENT, PROXY_UID: ENTRIES_OF_PROXY}
        keys = JwtAuthority(TRUST_DOMAIN, ISSUER)
        self.workload_api: WorkloadApiServer = WorkloadApiServer(
            socket, self.ca, entries, ttl=options.svid_ttl, jwt=keys
        )
        self.api: ApiServer = ApiServer(
            {WRITERS_TOKEN: "linkerd-destination", **({TOKEN: "host-db-1"} if options.token else {})}
        )
        self.api.authenticators = [JwtAuthenticator(keys, [AUDIENCE])]
        self.controllers: Controllers = Controllers(self.ca, network.CLUSTER, self.api)
        self.slices: SliceWriter

    def _share(self, beside: "Scene") -> None:
        """One cluster and one Workload API; an SVID's owner is known by its SPIFFE ID."""
        self.ca, self.workload_api, self.api = beside.ca, beside.workload_api, beside.api
        self.slices, self.controllers = beside.slices, beside.controllers
        own = f"spiffe://{TRUST_DOMAIN}/{self.name}"
        self.workload_api.add(AGENT_UID, Entry(own), Entry(f"{own}/agent"))
        self.workload_api.add(PROXY_UID, Entry(own))

    @contextlib.asynccontextmanager
    async def standing(self) -> AsyncIterator["Scene"]:
        """Everything but application and agent is up inside; at the end all that was started is stopped."""
        if self._beside is None:
            network.build()
        else:
            network.add(self.place)
        if not self.options.bare:
            self._furnish()
        async with contextlib.AsyncExitStack() as stack:
            if self._beside is None:
                await self._cluster(stack)
            stack.push_async_callback(self.stop_app)
            stack.push_async_callback(self.end_agent)
            yield self

    async def _cluster(self, stack: contextlib.AsyncExitStack) -> None:
        await stack.enter_async_context(pod(network.POD, POD_PORT))
        await self.start_api()
        stack.push_async_callback(self.api.stop)
        await self.controllers.start()
        stack.push_async_callback(self.controllers.stop)
        await stack.enter_async_context(self.workload_api)
        self.slices = await stack.enter_async_context(slice_writer(self.ca, self.api, self.options.slice_delay))

    # the host -----------------------------------------------------------------------------------

    async def start_app(self) -> None:
        (here, here6), port = self.place.addresses, self.options.port
        listen = [f"{here}:{port}", f"[{here6}]:{port}", f"{here}:{SSH_PORT}"]
        self.app = await self.on_host(sys.executable, "-m", f"agent.sandbox.stage.{self.options.app}", *listen)

    async def stop_app(self) -> None:
        await end(self.app)

    async def start_agent(self, *wrapper: str, arguments: Sequence[str] = ()) -> None:
        """`wrapper`: a program that starts the agent in some other way (env, setpriv), with its arguments.
        `arguments`: of the agent's own."""
        with self.agent_log.open("ab") as log:
            command = [*wrapper, sys.executable, "-m", "agent", "run", "--prefix", str(self.prefix), *arguments]
            self.agent = await self.on_host(
                *command, log=log.fileno() if self.options.log is None else self.options.log
            )

    async def end_agent(self) -> None:
        """SIGTERM: the data plane stays as it is."""
        await end(self.agent)

    async def kill_agent(self) -> None:
        """SIGKILL: it cannot write anything at its end."""
        await end(self.agent, kill=True)

    async def on_host(self, *command: str, log: int = asyncio.subprocess.DEVNULL) -> asyncio.subprocess.Process:
        """Start a program in the host's network namespace."""
        return await asyncio.create_subprocess_exec(
            *self.place.on_host,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ},
        )

    async def read_on_host(self, *command: str) -> str:
        """Run a program on the host; what it printed."""
        return (await self.run_on_host(*command))[1]

    async def cli(self, verb: str, *arguments: str, wrapper: Sequence[str] = ()) -> tuple[int, str]:
        """Run a fairlead verb on the host; its exit code and output. `wrapper`: as of `start_agent`."""
        fairlead = (sys.executable, "-m", "agent", verb, "--prefix", str(self.prefix))
        return await self.run_on_host(*wrapper, *fairlead, *arguments)

    async def run_on_host(self, *command: str) -> tuple[int, str]:
        """Run a program on the host; its exit code and output."""
        process = await asyncio.create_subprocess_exec(
            *self.place.on_host,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ},
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    # observations -------------------------------------------------------------------------

    async def status(self, after: int | None = None) -> dict[str, Any]:
        """The agent's status; with `after`, as soon as its version is past that, or after 2 s: a problem that time
        alone brings or ends has no version. Raises aiohttp.ClientError."""
        connector = aiohttp.UnixConnector(str(self.prefix / "run/fairlead/fairlead.sock"))
        query = {} if after is None else {"after": str(after), "wait": "2"}
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://agent/v1/status", params=query) as answer,
        ):
            status: dict[str, Any] = await answer.json()
            return status

    def workload(self) -> dict[str, Any]:
        """The ExternalWorkload as it stands in the API server."""
        return self.api.get(EXTERNAL_WORKLOADS, NAMESPACE, self.name)

    def ready(self) -> tuple[str, str]:
        """Status and reason of its Ready condition; ("", "") without one."""
        conditions = self.workload().get("status", {}).get("conditions", [])
        mine = [c for c in conditions if c["type"] == "Ready"]
        return (mine[0]["status"], mine[0]["reason"]) if mine else ("", "")

    def last_words(self, lines: int = 12) -> list[str]:
        """The end of the agent's log."""
        text = self.agent_log.read_text(errors="replace") if self.agent_log.exists() else ""
        return text.splitlines()[-lines:]

    def listed(self) -> list[str]:
        """The addresses that EndpointSlices offer to clients."""
        return listed(self.api)

    # set-up -------------------------------------------------------------------------------------

    async def start_api(self) -> None:
        certificate, key = self.ca.tls_server([network.CLUSTER])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pem = self.base / "api.pem"
        _write(pem, key + certificate, 0o600)
        context.load_cert_chain(pem)
        await self.api.start(network.CLUSTER, API_PORT, ssl_context=context)

    def _furnish(self) -> None:
        self.create_workload(*self.place.addresses[: self.options.versions])
        self.create_lease()
        self.make_folders()
        etc = self.prefix / "etc/fairlead"
        binary = self.options.proxy or self.base / "linkerd2-proxy"
        if self.options.proxy is None and not self.options.installed:
            from agent.sandbox.proxy import program as proxy

            proxy.write_executable(binary)
        _write(etc / "api-ca.pem", self.ca.pem)
        _write(etc / "anchors.pem", self.ca.pem)
        if self.options.token:
            _write(etc / "token", TOKEN, 0o600)
        self.configure(binary)

    def create_workload(self, *addresses: str) -> None:
        self.api.create(external_workload(self.name, addresses, self.options.port))

    def create_lease(self) -> None:
        self.api.create(lease(self.name))

    def make_folders(self) -> None:
        """As the package and the units do."""
        for folder in ("etc/fairlead", "run/fairlead", "var/lib/fairlead"):
            (self.prefix / folder).mkdir(parents=True)

    def configure(self, binary: Path) -> None:
        text = self._configuration(binary)
        for old, new in self.options.replace.items():
            assert old in text, old
            text = text.replace(old, new)
        _write(self.prefix / "etc/fairlead/fairlead.toml", text)

    def _configuration(self, binary: Path) -> str:
        etc, options = self.prefix / "etc/fairlead", self.options
        way = f'auth = "token-file"\ntoken_file = "{etc / "token"}"' if options.token else KEYLESS
        proxy = f"user = {PROXY_UID}" + ("" if options.installed else f'\nbinary = "{binary}"')
        socket = self.base / "workload-api.sock"
        text = configuration(self.name, self.place, etc, socket, way, proxy, options.probe_period)
        return text + options.extra


KEYLESS = f'auth = "spiffe"\naudience = "{AUDIENCE}"'


def configuration(
    name: str,
    place: network.Host,
    etc: Path,
    workload_api: Path,
    way: str = KEYLESS,
    proxy: str = "",
    period: float = 1.0,
) -> str:
    """Of a host of the scene's mesh. `etc`: where its files lie. `way`, `proxy`: lines of [api] and [proxy].
    `period`: of the probe."""
    return f"""\
[workload]
name = "{name}"
namespace = "{NAMESPACE}"
identity = "spiffe://{TRUST_DOMAIN}/{name}"
server_name = "{SERVER_NAME.replace(NAME, name)}"
ports = [{PORT}]

[host]
addresses = ["{place.address}", "{place.address6}"]

[identity]
workload_api = "{workload_api}"
trust_anchors = "{etc / "anchors.pem"}"

[api]
server = "https://{network.CLUSTER}:{API_PORT}"
ca = "{etc / "api-ca.pem"}"
{way}

[proxy]
{proxy}
grace = 10

[control_plane]
destination = "{network.CLUSTER}:{controllers.DESTINATION_PORT}"
policy = "{network.CLUSTER}:{controllers.POLICY_PORT}"

[redirect]
outbound_networks = ["{network.POD_NETWORK}"]

[[probe]]
name = "app"
kind = "http"
path = "/healthz"
port = {PORT}
period = {period:g}

[drain]
settle = 1
timeout = 30
"""


def external_workload(name: str, addresses: Sequence[str], port: int = PORT) -> dict[str, Any]:
    return {
        "apiVersion": "workload.linkerd.io/v1beta1",
        "kind": "ExternalWorkload",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "db"}},
        "spec": {
            "meshTLS": {
                "identity": f"spiffe://{TRUST_DOMAIN}/{name}",
                "serverName": SERVER_NAME.replace(NAME, name),
            },
            "workloadIPs": [{"ip": address} for address in addresses],
            "ports": [{"port": port, "name": "http", "protocol": "TCP"}],
        },
    }


def speaker(name: str) -> dict[str, str]:
    """The annotation that names the API user who may speak for this host."""
    return {"fairlead.dev/host": f"spiffe://{TRUST_DOMAIN}/{name}/agent"}


def lease(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": speaker(name)},
        "spec": {},
    }


def listed(api: ApiServer) -> list[str]:
    """The IPv4 addresses that EndpointSlices offer to clients."""
    there = api.find(SLICES, NAMESPACE)
    return [address for one in there if one["addressType"] == "IPv4" for address in slices.ready(one)]


@contextlib.asynccontextmanager
async def slice_writer(ca: Authority, api: ApiServer, delay: float) -> AsyncIterator[SliceWriter]:
    """Linkerd's part in the cluster: Ready hosts are in the Service's EndpointSlices. It needs WRITERS_TOKEN."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=ca.pem))
    headers = {"Authorization": f"Bearer {WRITERS_TOKEN}"}
    async with aiohttp.ClientSession(api.url, headers=headers, connector=connector) as session:
        writer = SliceWriter(session, NAMESPACE, SERVICE, {"app": "db"}, delay)
        async with background(writer.run()):
            yield writer


async def end(process: asyncio.subprocess.Process | None, kill: bool = False) -> None:
    """End a program, and return when it has ended; one that does not end within 10 s is killed."""
    if process is None or process.returncode is not None:
        return
    if kill:
        process.kill()
    else:
        process.terminate()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)
