"""The sandbox's step with a server that speaks first, and the clients that wait for its greeting."""

import asyncio
import ssl
import sys
from collections.abc import Sequence

from agent.core import opaque
from agent.core.proxy import INBOUND_PORT
from agent.sandbox.api.patch import merge
from agent.sandbox.api.server import EXTERNAL_WORKLOADS, ApiServer
from agent.sandbox.api.store import Place
from agent.sandbox.identity.ca import Authority
from agent.sandbox.proxy import transport_header
from agent.sandbox.stage import network
from agent.sandbox.stage.client import mesh_context
from agent.sandbox.stage.scene import NAME, NAMESPACE, PORT, SERVER_NAME, TRUST_DOMAIN, Scene

SMTP, MYSQL = "220 mail.example ESMTP", "J\x01\x02 8.0.36"
MAIL_PORT = 2525
WITHIN = 8.0  # seconds; the detection of an ordinary port takes 10


async def start(scene: Scene, greeting: str, port: int) -> asyncio.subprocess.Process:
    """Returns once it greets."""
    here = [f"{network.HOST}:{port}", f"[{network.HOST6}]:{port}"]
    server = await scene.on_host(sys.executable, "-m", "agent.sandbox.stage.greeter", greeting, *here)
    async with asyncio.timeout(20):
        while True:
            try:
                await greeted(network.HOST, port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                return server


async def greeted(address: str, port: int) -> str:
    """The greeting that a silent plain client gets. Raises OSError, TimeoutError."""
    return await _line(address, port, b"", None)


async def greeted_meshed(address: str, port: int, ca: Authority) -> str:
    """As a meshed peer's proxy dials an opaque port: by the proxy's own, in a transport header."""
    context = mesh_context(ca, f"spiffe://{TRUST_DOMAIN}/client")
    context.set_alpn_protocols([transport_header.ALPN])
    return await _line(address, INBOUND_PORT, transport_header.encode(port), context)


async def _line(address: str, port: int, head: bytes, context: ssl.SSLContext | None) -> str:
    name = SERVER_NAME if context else None
    async with asyncio.timeout(WITHIN):
        reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=name)
        try:
            writer.write(head)
            line = await reader.readline()
        finally:
            writer.transport.abort()
    if not line:
        raise ConnectionResetError("closed without a greeting")
    return line.decode().rstrip("\n")


async def seen() -> str:
    """The address by which the mail server sees a plain client."""
    return (await greeted(network.HOST, MAIL_PORT)).rpartition(" ")[2]


async def redirect_apply(scene: Scene) -> tuple[int, str]:
    command = ("-m", "agent", "redirect", "apply", "--prefix", str(scene.prefix))
    return await scene.run_on_host(sys.executable, *command)


def remedy(ports: str) -> str:
    """The first command that a refusal names."""
    return f"kubectl annotate externalworkload {NAME} -n {NAMESPACE} {opaque.ANNOTATION}={ports}"


def annotate(api: ApiServer, ports: str) -> None:
    """Do the same as that command."""
    _change(api, {"metadata": {"annotations": {opaque.ANNOTATION: ports}}})


def declare(api: ApiServer) -> None:
    """The mail server's port beside the application's, in the ExternalWorkload."""
    ports = {"http": PORT, "smtp": MAIL_PORT}
    _change(
        api, {"spec": {"ports": [{"port": port, "name": name, "protocol": "TCP"} for name, port in ports.items()]}}
    )


def declared(text: str, opaque_ports: Sequence[int]) -> str:
    """And in the configuration."""
    lines = [line for line in text.splitlines() if not line.startswith(("ports =", "opaque_ports ="))]
    at = lines.index("[workload]") + 1
    lines[at:at] = [f"ports = [{PORT}, {MAIL_PORT}]", f"opaque_ports = {list(opaque_ports)}"]
    return "\n".join(lines) + "\n"


def _change(api: ApiServer, change: dict[str, object]) -> None:
    api.store.patch(Place(EXTERNAL_WORKLOADS, NAMESPACE, NAME), lambda body: merge(body, change))
