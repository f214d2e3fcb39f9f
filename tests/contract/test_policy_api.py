"""The sandbox's policy controller to a gRPC client over TLS, as linkerd2-proxy is one."""

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator

import grpc
import pytest

from agent.host import serving
from agent.sandbox.api.server import ApiServer
from agent.sandbox.identity.ca import Authority
from agent.sandbox.proxy.controllers import NAME, POLICY_PORT, Controllers
from agent.sandbox.proxy.policy_api import server_policy
from agent.sandbox.stage import greetings, scene

METHOD = "/io.linkerd.proxy.inbound.InboundServerPolicies/"
PORT = 8080
ADDRESS = f"127.9.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"  # of this process alone: the ports are fixed


@pytest.fixture
async def channel() -> AsyncIterator[tuple[ApiServer, grpc.aio.Channel]]:
    """Its TLS is made here, for gRPC's own wants ALPN."""
    api, authority = ApiServer({}), Authority("example.org")
    api.create(scene.external_workload(scene.NAME, ["192.0.2.1"], PORT))
    controllers = Controllers(authority, ADDRESS, api)
    await controllers.start()
    context, held = ssl.create_default_context(cadata=authority.pem), contextlib.AsyncExitStack()
    forwards: list[asyncio.Task[None] | None] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(ADDRESS, POLICY_PORT, ssl=context, server_hostname=NAME)
        forwards.append(asyncio.current_task())
        held.callback(writer.transport.abort)
        held.callback(ours.transport.abort)
        await asyncio.gather(_copy(reader, ours), _copy(theirs, writer))

    server = await asyncio.start_server(forward, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as made:
        yield api, made
    await serving.close(server)
    await held.aclose()
    await asyncio.gather(*filter(None, forwards), return_exceptions=True)  # a stream that is left open warns
    await controllers.stop()


def _watch(connection: grpc.aio.Channel) -> grpc.aio.UnaryStreamMultiCallable[bytes, bytes]:
    return connection.unary_stream(METHOD + "WatchPort")


def _get(connection: grpc.aio.Channel) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    return connection.unary_unary(METHOD + "GetPort")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


def _port_spec(workload: dict[str, str], port: int) -> bytes:
    text = json.dumps(workload).encode()
    return bytes([0x0A, len(text)]) + text + bytes([0x10, port & 0x7F | 0x80, port >> 7])


async def test_a_port_becomes_opaque_on_an_open_stream(channel: tuple[ApiServer, grpc.aio.Channel]) -> None:
    api, connection = channel
    request = _port_spec({"ns": scene.NAMESPACE, "external_workload": scene.NAME}, PORT)
    answers = _watch(connection)(request)
    assert await anext(aiter(answers)) == server_policy(False)
    greetings.annotate(api, str(PORT))
    assert await anext(aiter(answers)) == server_policy(True)


async def test_what_it_does_not_know_is_unimplemented(channel: tuple[ApiServer, grpc.aio.Channel]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _get(channel[1])(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
