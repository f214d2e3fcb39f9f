"""The policy and destination controllers of the sandbox's cluster, as far as a proxy's metrics show them.

TLS under the names of Linkerd's controllers. A request is one line, and so is each response: the opaque ports of
the ExternalWorkload by its annotation alone, sent again when they change (docs/linkerd.md §12). The rest of the
policy is in the proxy's environment. linkerd2-proxy itself begins with HTTP/2 and gets the API that it knows.
"""

import asyncio
import json
import ssl
import tempfile
from collections.abc import AsyncIterator

from agent.core import opaque, token
from agent.host import serving
from agent.sandbox.api.server import EXTERNAL_WORKLOADS, ApiServer
from agent.sandbox.identity.ca import Authority
from agent.sandbox.proxy import policy_api
from agent.sandbox.proxy.policy import POLICY, WATCH

POLICY_PORT, DESTINATION_PORT = 8090, 8086
NAME = token.identity("linkerd-destination", "linkerd", "linkerd", "cluster.local")


class Controllers:
    """`api`: where the ExternalWorkloads are. `silent`: clients are accepted and get no answer. `asked`: number of
    requests."""

    def __init__(
        self, authority: Authority, address: str, api: ApiServer, names: tuple[str, ...] = (NAME,)
    ) -> None:
        self._api = api
        self._address, self._context = address, _context(authority, names)
        self._servers: list[asyncio.Server] = []
        self._streams: set[asyncio.StreamWriter] = set()
        self._policy_api = policy_api.PolicyApi(self._watched)
        self.silent, self.asked = False, 0

    async def start(self) -> None:
        await self._policy_api.start()
        for port in (POLICY_PORT, DESTINATION_PORT):
            server = await asyncio.start_server(self._serve, self._address, port, ssl=self._context)
            self._servers.append(server)

    async def stop(self) -> None:
        """Every stream is cut, as when the pod dies."""
        for server in self._servers:
            await serving.close(server)
        await self._policy_api.stop()
        for writer in self._streams:
            writer.transport.abort()
        self._servers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.add(writer)
        try:
            line = await reader.readline()
            word, _, workload = line.decode().partition(" ")
            if line.startswith(policy_api.PREFACE):
                await self._policy_api.serve(line, reader, writer)
            if word == WATCH:
                self.asked += 1
                await self._answer(reader, writer, json.loads(workload))
        except OSError:
            writer.transport.abort()
        finally:
            self._streams.discard(writer)
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, workload: dict[str, str]
    ) -> None:
        """Until the proxy ends the stream."""
        following = None if self.silent else asyncio.create_task(self._follow(writer, workload))
        try:
            await reader.read()
        finally:
            if following is not None:
                following.cancel()

    async def _follow(self, writer: asyncio.StreamWriter, workload: dict[str, str]) -> None:
        async for ports in self._watched(workload):
            writer.write(f"{POLICY} {ports}\n".encode())

    async def _watched(self, workload: dict[str, str]) -> AsyncIterator[str]:
        sent = None
        while True:
            news, ports = self._api.store.news(), self._opaque_ports(workload)
            if ports != sent:
                yield ports
            sent = ports
            await news.wait()

    def _opaque_ports(self, workload: dict[str, str]) -> str:
        """As ranges, without the names that the annotation may have."""
        for body in self._api.find(EXTERNAL_WORKLOADS, workload["ns"]):
            if body["metadata"]["name"] == workload["external_workload"]:
                named = {port["name"]: port["port"] for port in body["spec"].get("ports", []) if "name" in port}
                text = body["metadata"].get("annotations", {}).get(opaque.ANNOTATION, "")
                return ",".join(f"{first}-{last}" for first, last in opaque.ranges(text, named))
        return ""


def _context(authority: Authority, names: tuple[str, ...]) -> ssl.SSLContext:
    certificate, key = authority.tls_server(names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:  # ssl reads keys from files only
        pem.write(key + certificate)
        pem.flush()
        context.load_cert_chain(pem.name)
    return context
