"""The policy controller's gRPC API, as far as linkerd2-proxy itself needs it: `fairlead sandbox --proxy PATH`.

Every client is allowed (`all-unauthenticated`); a port is opaque or its protocol is detected. Any other method is
unimplemented, so the proxy forwards outbound connections without a policy (docs/linkerd.md §1.6).
"""

import asyncio
import contextlib
import json
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc

from agent.core import opaque
from agent.sandbox.proxy.transport_header import varint

PREFACE = b"PRI "  # how a client of HTTP/2 begins
_WATCH = "/io.linkerd.proxy.inbound.InboundServerPolicies/WatchPort"
_DETECT_SECONDS = 10

_Context = grpc.aio.ServicerContext[bytes, bytes]
OpaquePorts = Callable[[dict[str, str]], AsyncIterator[str]]
"""The workload of a proxy → its opaque ports as ranges, now and after each change."""


class PolicyApi(grpc.GenericRpcHandler):
    def __init__(self, opaque_ports: OpaquePorts) -> None:
        self._opaque_ports = opaque_ports
        self._stack = contextlib.AsyncExitStack()
        self._socket = Path()

    async def start(self) -> None:
        self._socket = Path(self._stack.enter_context(tempfile.TemporaryDirectory())) / "policy.sock"
        server = grpc.aio.server(handlers=[self])
        server.add_insecure_port(f"unix:{self._socket}")
        await server.start()
        self._stack.push_async_callback(server.stop, None)

    async def stop(self) -> None:
        await self._stack.aclose()

    async def serve(self, begun: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection whose first bytes are `begun`. gRPC's own TLS wants ALPN, which the proxy does not send."""
        from_api, to_api = await asyncio.open_unix_connection(self._socket)
        to_api.write(begun)
        ways = [asyncio.create_task(_copy(reader, to_api)), asyncio.create_task(_copy(from_api, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to_api.transport.abort()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        known = handler_call_details.method == _WATCH
        return grpc.unary_stream_rpc_method_handler(self._watch) if known else None

    async def _watch(self, request: bytes, context: _Context) -> AsyncIterator[bytes]:
        workload, port = read_port_spec(request)
        async for ports in self._opaque_ports(json.loads(workload)):
            yield server_policy(bool(opaque.within([port], opaque.ranges(ports, {}))))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


# messages: field numbers as in linkerd2-proxy-api's inbound.proto ----------------------------------


def server_policy(is_opaque: bool) -> bytes:
    timeout = _message(1, _number(1, _DETECT_SECONDS))
    protocol = _message(2) if is_opaque else _message(1, timeout)
    networks = [_message(1, _message(1, address)) for address in (b"\x0d" + struct.pack("<I", 0), _message(2))]
    allowed = b"".join(_message(1, network) for network in networks) + _message(2, _message(1))
    labels = {"group": "", "kind": "default", "name": "all-unauthenticated"}
    return _message(1, protocol) + _message(3, allowed + _labels(3, labels)) + _labels(4, labels)


def read_port_spec(data: bytes) -> tuple[str, int]:
    """The workload and the port."""
    fields: dict[int, Any] = {}
    while data:
        key, data = varint(data)
        value, data = varint(data)
        if key & 7 == 2:
            fields[key >> 3], data = data[:value], data[value:]
        else:
            fields[key >> 3] = value
    return fields[1].decode(), fields[2]


def _labels(number: int, labels: dict[str, str]) -> bytes:
    pairs = labels.items()
    return b"".join(_message(number, _message(1, k.encode()) + _message(2, v.encode())) for k, v in pairs)


def _message(number: int, payload: bytes = b"") -> bytes:
    return bytes([number << 3 | 2, len(payload)]) + payload


def _number(number: int, value: int) -> bytes:
    return bytes([number << 3, value])
