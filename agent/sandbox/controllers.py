"""The policy and destination controllers of the sandbox's cluster, as far as a proxy's metrics show them.

TLS under the name that Linkerd's have. What is asked and answered within is one line each, between this and
`agent.sandbox.proxy_policy`; the policy itself is the one in the proxy's environment.
"""

import asyncio
import ssl
import tempfile

from agent.core import token
from agent.sandbox.ca import Authority

POLICY_PORT, DESTINATION_PORT = 8090, 8086
NAME = token.identity("linkerd-destination", "linkerd", "linkerd", "cluster.local")
WATCH, POLICY = b"watch 4191\n", b"policy\n"


class Controllers:
    """`silent`: whoever asks is accepted and gets no answer. `asked`: how often."""

    def __init__(self, authority: Authority, address: str, names: tuple[str, ...] = (NAME,)) -> None:
        self._address, self._context = address, _context(authority, names)
        self._servers: list[asyncio.Server] = []
        self._streams: set[asyncio.StreamWriter] = set()
        self.silent, self.asked = False, 0

    async def start(self) -> None:
        for port in (POLICY_PORT, DESTINATION_PORT):
            server = await asyncio.start_server(self._serve, self._address, port, ssl=self._context)
            self._servers.append(server)

    async def stop(self) -> None:
        """Every stream is cut, as when the pod dies."""
        for server in self._servers:
            server.close()
        for writer in self._streams:
            writer.transport.abort()
        self._servers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.add(writer)
        try:
            if await reader.readline() == WATCH:
                self.asked += 1
                if not self.silent:
                    writer.write(POLICY)
                await reader.read()  # a watch has no end
        except OSError:
            writer.transport.abort()
        finally:
            self._streams.discard(writer)
            writer.close()


def _context(authority: Authority, names: tuple[str, ...]) -> ssl.SSLContext:
    certificate, key = authority.tls_server(names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:  # ssl reads keys from files only
        pem.write(key + certificate)
        pem.flush()
        context.load_cert_chain(pem.name)
    return context
