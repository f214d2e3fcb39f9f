"""The stand-in's data path: a connection's original destination, its protocol, and bytes copied both ways."""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from ipaddress import ip_address
from typing import Any, TypeVar

from cryptography import x509

from agent.sandbox.proxy import http2, transport_header
from agent.sandbox.proxy.identity import Identity
from agent.sandbox.proxy.metrics import Metrics
from agent.sandbox.proxy.settings import Address, Settings
from agent.sandbox.proxy.transport_header import Malformed

# What tests switch: the destination controller is away, so what the host opens is accepted and waits for ever.
NO_DESTINATION = "STANDIN_NO_DESTINATION"
HANDSHAKE_WITHIN = 10.0  # seconds
CONNECT_WITHIN = 1.0
_CHUNK = 1 << 16
_SO_ORIGINAL_DST = 80  # the same number at SOL_IP and SOL_IPV6 (linux/netfilter_ipv4.h, ip6_tables.h)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close() sends RST

T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Refused(Exception):
    """A connection that is not served; its client sees a reset."""


class Traffic:
    """Accepts on listening sockets from `serve` on, and carries what it accepted until each side is done.
    `opaque`: whether the policy has a port as opaque."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        opaque: Callable[[int], bool],
        metrics: Metrics,
        log: Callable[[str], None],
    ) -> None:
        self._opaque = opaque
        self._settings, self._identity, self._metrics, self._log = settings, identity, metrics, log
        self._accepting: list[asyncio.Task[None]] = []
        self._open: set[asyncio.Task[None]] = set()
        self._draining = asyncio.Event()

    def serve(self, inbound: socket.socket, outbound: list[socket.socket]) -> None:
        pairs = [(inbound, self._inbound), *((one, self._outbound) for one in outbound)]
        self._accepting = [asyncio.create_task(self._accept(*pair)) for pair in pairs]

    async def drain(self) -> None:
        """Accept no more, end those of HTTP/2 as soon as they may, and return when every connection has ended."""
        self._draining.set()
        await self._end(self._accepting)
        while self._open:
            await asyncio.wait(self._open)

    async def cut(self) -> None:
        """End every connection now."""
        await self._end([*self._accepting, *self._open])

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket, handle: Callable[[socket.socket], Awaitable[None]]) -> None:
        with listener:
            while True:
                client, _ = await asyncio.get_running_loop().sock_accept(listener)
                task = asyncio.create_task(self._handle(client, handle))
                self._open.add(task)
                task.add_done_callback(self._open.discard)

    async def _handle(self, client: socket.socket, handle: Callable[[socket.socket], Awaitable[None]]) -> None:
        try:
            await handle(client)
        except (Refused, OSError) as error:  # a TimeoutError too: a client that says nothing is not served
            self._log(f"a connection is refused: {error or 'no first bytes in time'}")
            _reset(client)
        finally:
            client.close()

    # inbound and outbound -----------------------------------------------------------------------

    async def _inbound(self, client: socket.socket) -> None:
        target = original_destination(client)
        allowed = self._settings.inbound_ips
        if allowed and target[0] not in allowed:
            raise Refused(f"inbound connections are not allowed on this IP address ({target[0]})")
        if target[1] == self._settings.inbound[1]:
            await self._direct(client, target[0])
        elif self._opaque(target[1]):
            streams = await _streams(client)
            await self._forward(streams, "inbound", target, self._authorized(streams[1], None))
        else:
            await self._detected(client, target)

    async def _detected(self, client: socket.socket, target: Address) -> None:
        """Both TLS and protocol are detected by the client's first bytes. Raises TimeoutError: a plain client sent
        none. A meshed one that sends none is carried after the same time."""
        name = await self._detect(server_name(client))
        meshed = name == self._settings.server_name
        streams = await _streams(client, self._identity.tls if meshed else None)
        labels, first = self._authorized(streams[1], name), b""
        if meshed:
            with _aborted(streams[1]), contextlib.suppress(TimeoutError):
                first = await self._detect(streams[0].read(_CHUNK))
        await self._forward(streams, "inbound", target, labels, first)

    async def _direct(self, client: socket.socket, address: str) -> None:
        """A meshed peer that names the port itself, as peers do for an opaque one."""
        name = await self._detect(server_name(client))
        if name != self._settings.server_name:
            raise Refused("direct connections require transport header negotiation")
        streams = await _streams(client, self._identity.tls)
        with _aborted(streams[1]):
            labels, port = self._authorized(streams[1], name), await self._detect(_named_port(streams))
        await self._forward(streams, "inbound", (address, port), labels)

    async def _detect(self, found: Coroutine[Any, Any, T]) -> T:
        """Raises TimeoutError."""
        async with asyncio.timeout(self._settings.detect_within):
            return await found

    def _authorized(self, writer: asyncio.StreamWriter, name: str | None) -> str:
        """The labels of a connection that the inbound policy lets pass. "Authenticated" means any DNS name to
        the proxy, and no SPIFFE ID (docs/linkerd.md §0.5). Raises Refused."""
        tls = writer.get_extra_info("ssl_object")
        identity = "" if tls is None else _first_name(tls)
        policy = self._settings.inbound_policy
        unnamed = not identity or identity.startswith("spiffe:")
        if policy == "deny" or (policy.endswith("-authenticated") and unnamed):
            writer.transport.abort()
            raise Refused(f"the policy {policy} does not allow {identity or 'a client without identity'}")
        if tls is not None:
            return f'tls="true",client_id="{identity}"'
        return f'tls="opaque",sni="{name}"' if name else 'tls="no_identity",no_tls_reason="no_tls_from_remote"'

    async def _outbound(self, client: socket.socket) -> None:
        target = original_destination(client)
        if target in self._settings.outbound:
            raise Refused("outbound connections must not target the proxy itself")
        if NO_DESTINATION in os.environ:
            await asyncio.Event().wait()
        await self._forward(
            await _streams(client), "outbound", target, 'tls="no_identity",no_tls_reason="loopback"'
        )

    async def _forward(
        self, client: Streams, direction: str, target: Address, tls: str, first: bytes = b""
    ) -> None:
        """Returns when both sides are closed, and so is the client's socket. `first`: what it sent already."""
        writer = client[1]
        with self._metrics.connection(direction, "src", target, tls):
            try:
                async with asyncio.timeout(CONNECT_WITHIN):
                    server = await asyncio.open_connection(*target)
                with self._metrics.connection(
                    direction, "dst", None, 'tls="no_identity",no_tls_reason="loopback"'
                ):
                    server[1].write(first)
                    await _Carried(client, server, first).until_over(self._draining)
            except asyncio.CancelledError:  # at the end of grace, as the kernel closes what a process leaves
                writer.transport.abort()
                raise
            except BaseException:  # a connection that fails must not look like a normal end
                if (accepted := writer.get_extra_info("socket")) is not None:  # else the client has gone
                    _reset(accepted)
                writer.transport.abort()
                raise
            finally:
                writer.close()
                with contextlib.suppress(OSError):  # how the client closed does not matter
                    await writer.wait_closed()


def _reset(connection: socket.socket | TransportSocket) -> None:
    """Let its close be a reset. One that is closed already stays so."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def original_destination(connection: socket.socket) -> Address:
    """The client's destination before the redirect. Raises OSError (ENOENT without connection tracking)."""
    peer = ip_address(connection.getpeername()[0])
    mapped = peer.version == 6 and peer.ipv4_mapped is not None
    if peer.version == 4 or mapped:  # also on a socket that listens for both: it is an IPv4 connection
        raw = connection.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
        return str(ip_address(raw[4:8])), int.from_bytes(raw[2:4])
    raw = connection.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
    return str(ip_address(raw[8:24])), int.from_bytes(raw[2:4])


def _first_name(tls: ssl.SSLObject) -> str:
    """The identity that a client proved: its first name, of whatever kind (docs/linkerd.md §1.7); "": it proved
    none."""
    der = tls.getpeercert(binary_form=True)
    if der is None:
        return ""
    names = (
        x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    )
    return str(next(iter(names)).value)


# bytes ---------------------------------------------------------------------------------------------


async def _streams(connection: socket.socket, tls: ssl.SSLContext | None = None) -> Streams:
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    patience = {} if tls is None else {"ssl_handshake_timeout": HANDSHAKE_WITHIN, "ssl_shutdown_timeout": 1.0}
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=tls, **patience)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


@contextlib.contextmanager
def _aborted(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Unless this succeeds."""
    try:
        yield
    except BaseException:
        writer.transport.abort()
        raise


async def _named_port(streams: Streams) -> int:
    """Raises Refused, EOFError."""
    if streams[1].get_extra_info("ssl_object").selected_alpn_protocol() != transport_header.ALPN:
        raise Refused("direct connections require transport header negotiation")
    try:
        return await transport_header.read(streams[0])
    except (Malformed, EOFError) as error:
        raise Refused(str(error)) from error


class _Carried:
    """One connection. `first`: what the client sent already, and the server has got."""

    def __init__(self, client: Streams, server: Streams, first: bytes) -> None:
        self._client, self._server, self._http2 = client, server, http2.Connection()
        self._http2.from_client(first)
        self._answered = False  # the server has ended its side

    async def until_over(self, draining: asyncio.Event) -> None:
        """Both ways until both are done. An end in one direction is passed on as such; a reset ends both.
        Raises ConnectionResetError."""
        ending = asyncio.create_task(self._end(draining))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(self._client[0], self._server[1], self._http2.from_client))
                group.create_task(self._answer())
        except* OSError as errors:
            self._server[1].transport.abort()
            raise ConnectionResetError(str(errors.exceptions[0])) from None
        finally:
            ending.cancel()
            self._server[1].close()

    async def _answer(self) -> None:
        await self._pump(self._server[0], self._client[1], self._http2.from_server)
        self._answered = True

    async def _end(self, draining: asyncio.Event) -> None:
        await draining.wait()
        self._http2.end()
        self._go_on()

    def _go_on(self) -> None:
        """Tell the client what it may be told now, and close where it needs nothing more."""
        if not self._answered and (due := self._http2.due()):
            self._client[1].write(due)
        if self._http2.over:
            self._client[1].close()
            self._server[1].close()

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, passed: Callable[[bytes], bytes]
    ) -> None:
        while data := await source.read(_CHUNK):
            target.write(passed(data))
            await target.drain()
            self._go_on()
        if target.can_write_eof():
            target.write_eof()
        else:  # asyncio's TLS has no half-close
            target.close()


# TLS, read without consuming it -------------------------------------------------------------------


async def server_name(connection: socket.socket) -> str | None:
    """The SNI of the ClientHello that a client begins with; None: it begins with something else. The bytes
    stay in the socket."""
    head = await _peek(connection, 5)
    if len(head) < 5 or head[0] != 0x16:
        return None
    return _sni(await _peek(connection, 5 + int.from_bytes(head[3:5])))


async def _peek(connection: socket.socket, size: int) -> bytes:
    """Look at up to `size` bytes, as soon as so many are there or no more will come."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    # The low-water mark keeps a socket with too few bytes from being readable, and this from spinning.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    return connection.recv(size, socket.MSG_PEEK)


def _sni(record: bytes) -> str | None:
    """The server name in a TLS record that holds a whole ClientHello (RFC 8446 §4.1.2, RFC 6066 §3)."""
    try:
        return next(_names(record), None)
    except IndexError:  # shorter than it claims: ignored
        return None


def _names(record: bytes) -> Iterator[str]:
    at = 5 + 4 + 2 + 32  # record header, handshake header, version, random
    at += 1 + record[at]  # session id
    at += 2 + int.from_bytes(record[at : at + 2])  # cipher suites
    at += 1 + record[at]  # compression methods
    end = at + 2 + int.from_bytes(record[at : at + 2])
    at += 2
    while at < end:
        kind, size = int.from_bytes(record[at : at + 2]), int.from_bytes(record[at + 2 : at + 4])
        if kind == 0:  # a list (2) of one host name (1), with its size (2)
            yield record[at + 9 : at + 4 + size].decode("ascii", "replace")
        at += 4 + size
