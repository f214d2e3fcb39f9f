"""The stand-in's policy client: it asks at the start, again whenever its stream ends, and counts.

Of an answer it takes the opaque ports. They replace those of the environment permanently, also after later
failures.
"""

import asyncio
import os
import socket
import ssl
from ipaddress import ip_address

from agent.core import opaque
from agent.sandbox.proxy.metrics import Metrics
from agent.sandbox.proxy.settings import Settings

WATCH, POLICY = "watch", "policy"  # what a line of a request and of a response begins with
ANSWERED = "STANDIN_ANSWERED"  # count one answer without asking, and keep the environment's opaque ports
IDLE = 90.0  # seconds; INBOUND_DISCOVERY_IDLE_TIMEOUT
PAUSE = 0.3  # seconds between two tries; the proxy's own grow to 10 s
WITHIN = 3.0  # seconds for an answer


class PolicyClient:
    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._count = settings, metrics.control
        host, _, port = settings.policy.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._opaque = settings.opaque_ports
        self._kept: dict[int, float] = {}  # other ports → until when their policy is kept

    def is_opaque(self, port: int) -> bool:
        """For a connection that is accepted now. The policy of a port that `INBOUND_PORTS` lacks is asked for at
        its first connection, to which the environment's applies, and kept for a while after the last one."""
        known = opaque.within([port], self._settings.inbound_ports) or self._discovered(port)
        return bool(opaque.within([port], self._opaque if known else self._settings.opaque_ports))

    def _discovered(self, port: int) -> bool:
        now = asyncio.get_running_loop().time()
        known, self._kept[port] = now < self._kept.get(port, now), now + IDLE
        return known

    async def follow(self) -> None:
        """Until cancelled."""
        if ANSWERED in os.environ:
            self._count.answers += 1
            return
        tls = self._context() if self._settings.policy_name and not self._on_loopback() else None
        while True:
            try:
                await self._watch(tls)
            except (OSError, EOFError, TimeoutError):  # of TLS and of names too
                self._count.failures += 1
            await asyncio.sleep(PAUSE)

    async def _watch(self, tls: ssl.SSLContext | None) -> None:
        name = None if tls is None else self._settings.policy_name
        async with asyncio.timeout(WITHIN):
            address = await self._resolved()
            reader, writer = await asyncio.open_connection(address, self._port, ssl=tls, server_hostname=name)
        try:
            self._count.requests += 1
            writer.write(f"{WATCH} {self._settings.workload}\n".encode())
            async with asyncio.timeout(WITHIN):
                self._take(await reader.readline())
            self._count.answers += 1
            while line := await reader.readline():
                self._take(line)
            self._count.broken += 1
        finally:
            writer.transport.abort()

    def _take(self, line: bytes) -> None:
        """Raises EOFError: this is no policy."""
        word, _, ports = line.decode().rstrip("\n").partition(" ")
        if word != POLICY:
            raise EOFError
        self._opaque = opaque.ranges(ports, {})

    async def _resolved(self) -> str:
        """An address is not a name, and is not counted."""
        try:
            return str(ip_address(self._host))
        except ValueError:
            pass
        try:
            loop = asyncio.get_running_loop()
            answers = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError:
            self._count.missed += 1
            raise
        self._count.found += 1
        return str(answers[0][4][0])

    def _on_loopback(self) -> bool:
        try:
            return ip_address(self._host).is_loopback
        except ValueError:
            return self._host.startswith("localhost")

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self._settings.trust_anchors)
        return context
