"""Clients and an application around a ProxyHost, for tests that look at a proxy from outside."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from functools import partial

from agent.core import proxy
from agent.host import serving
from agent.sandbox.proxy import transport_header
from tests.lab.child_proxies import ADDRESS, ProxyHost, Space

PORT = 8080


class App:
    """Sends the client's address, then echoes until the client ends, and then says so."""

    def __init__(self) -> None:
        self._open: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def ended(self) -> None:
        """Return when every connection has ended."""
        await asyncio.gather(*self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(f"{writer.get_extra_info('peername')[0]}\n".encode())
            while data := await reader.read(65536):
                writer.write(data)
            writer.write(b"end")
            await writer.drain()
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def listening(space: Space, *addresses: str) -> AsyncIterator[None]:
    """The application listens on these addresses of a network; afterwards all its connections have ended."""
    app = App()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(app.ended)
        for address in addresses:
            listener = space.inside(partial(listen, address, PORT))
            made = await asyncio.start_server(app.accept, sock=listener)
            await stack.enter_async_context(serving.closing(made))
        yield


def listen(address: str, port: int) -> socket.socket:
    return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)


def dial(space: Space, address: str, port: int = PORT) -> socket.socket:
    return space.inside(lambda: socket.create_connection((address, port), timeout=5))


@contextlib.asynccontextmanager
async def streams(connection: socket.socket) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    connection.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        await closed(writer)


async def ask(connection: socket.socket, text: bytes) -> bytes:
    """Send and end; all that comes back, which is nothing where a connection is refused."""
    async with streams(connection) as (reader, writer):
        try:
            writer.write(text)
            writer.write_eof()
            return await reader.read()
        except OSError:
            return b""


async def refused(space: Space, address: str, port: int, text: bytes) -> bool:
    """A connection is accepted by the kernel and reset by the proxy, be it before connect() has returned."""
    try:
        connection = dial(space, address, port)
    except ConnectionResetError:
        return True
    return await ask(connection, text) == b""


def peers_tls(host: ProxyHost, certified: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(host.path("anchors.pem"))
    if certified:
        context.load_cert_chain(host.path("client.pem"))
    return context


async def meshed(
    host: ProxyHost,
    name: str,
    certified: bool = True,
    says: bytes = b"\x00hello\n",
    named: int = 0,
    address: str = ADDRESS,
) -> tuple[bytes, tuple[str, str]]:
    """The first line that a meshed peer reads, and who the host proved to be. `named`: the port that it names in
    a transport header, as peers do for an opaque one; 0: it dials the port itself."""
    connection = dial(host.client, address, proxy.INBOUND_PORT if named else PORT)
    connection.setblocking(False)
    context, header = peers_tls(host, certified), b""
    if named:
        header = transport_header.encode(named)
        context.set_alpn_protocols([transport_header.ALPN])
    reader, writer = await asyncio.open_connection(sock=connection, ssl=context, server_hostname=name)
    tls = writer.get_extra_info("ssl_object")
    try:
        writer.write(header + says)
        return await reader.readline(), tls.getpeercert()["subjectAltName"][0]
    finally:
        await closed(writer)
