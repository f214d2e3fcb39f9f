"""gRPC health probes against a real gRPC server, and against servers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc.aio
import pytest

from agent.adapters.probes import HostProber
from agent.adapters.probes.health import METHOD, request, status
from agent.core.probe import Attempt, ProbeSpec
from tests.contract.probe_servers import Serve, endless_body, half_closes, hangs, lies, resets, server

Answer = Callable[[bytes, "grpc.aio.ServicerContext[bytes, bytes]"], Awaitable[bytes]]


class Health(grpc.GenericRpcHandler):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        if details.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer, bytes, bytes)


@contextlib.asynccontextmanager
async def grpc_server(*handlers: grpc.GenericRpcHandler) -> AsyncIterator[int]:
    running = grpc.aio.server()
    running.add_generic_rpc_handlers(handlers)
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    try:
        yield port
    finally:
        await running.stop(None)


async def attempt(port: int, service: str = "", timeout: float = 5.0) -> Attempt:
    return await HostProber().attempt(ProbeSpec("p", "grpc", "127.0.0.1", port, service=service, timeout=timeout))


def saying(message: bytes) -> Answer:
    async def answer(asked: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return message

    return answer


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (b"\x08\x01", Attempt(True, "SERVING")),
        (b"\x08\x02", Attempt(False, "NOT_SERVING")),
        (b"\x08\x03", Attempt(False, "SERVICE_UNKNOWN")),
        (b"", Attempt(False, "UNKNOWN")),
        (b"\x08\x09", Attempt(False, "the answer is not a health message")),
        (b"HTTP", Attempt(False, "the answer is not a health message")),
    ],
)
async def test_what_the_server_says(message: bytes, found: Attempt) -> None:
    async with grpc_server(Health(saying(message))) as port:
        assert await attempt(port) == found


async def test_a_service_is_asked_for_by_name() -> None:
    async def only_shop(asked: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if asked != b"\x0a\x04shop":
            await context.abort(grpc.StatusCode.NOT_FOUND, "who?")
        return b"\x08\x01"

    async with grpc_server(Health(only_shop)) as port:
        assert (await attempt(port, "shop")).ok
        assert await attempt(port, "bank") == Attempt(False, "the server knows no service 'bank'")
        assert (await attempt(port)).ok is False


def test_the_bytes_are_those_of_protobuf() -> None:
    """protobuf itself is the judge, with the two messages described to it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="health.proto", syntax="proto3")
    asks = file.message_type.add(name="Asks")
    asks.field.add(name="service", number=1, type=9, label=1)
    answers = file.message_type.add(name="Answers")
    answers.field.add(name="status", number=1, type=5, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    ask = message_factory.GetMessageClass(pool.FindMessageTypeByName("Asks"))
    answer = message_factory.GetMessageClass(pool.FindMessageTypeByName("Answers"))
    for service in ("", "shop", "a.b.C/" * 21):
        assert request(service) == ask(service=service).SerializeToString()
    assert [status(answer(status=n).SerializeToString()) for n in range(5)] == [
        "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN", "",
    ]  # fmt: skip


async def test_a_proxy_of_the_environment_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with grpc_server(Health(saying(b"\x08\x01"))) as port:
        assert (await attempt(port)).ok


async def test_a_server_without_health() -> None:
    async with grpc_server() as port:
        assert await attempt(port) == Attempt(False, "the server does not offer grpc.health.v1")


async def test_an_answer_without_measure() -> None:
    async with grpc_server(Health(saying(b"x" * 100_000))) as port:
        found = await attempt(port)
    assert found.ok is False and "RESOURCE_EXHAUSTED" in found.detail


async def test_a_slow_server() -> None:
    async def sleeps(asked: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async with grpc_server(Health(sleeps)) as port:
        assert await attempt(port, timeout=0.3) == Attempt(False, "no answer within 0.3 s")


@pytest.mark.parametrize("serve", [hangs, resets, half_closes, lies, endless_body])
async def test_a_server_that_is_none_fails_in_time(serve: Serve) -> None:
    async with server(serve) as port:
        found = await attempt(port, timeout=1.0)
    assert found.ok is False and found.detail


async def test_it_is_back_at_the_next_try() -> None:
    """gRPC itself would wait longer and longer before it dials a refused address again."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        for _ in range(3):
            found = await attempt(port)
            assert found.ok is False and "nothing listens" in found.detail
    running = grpc.aio.server()
    running.add_generic_rpc_handlers([Health(saying(b"\x08\x01"))])
    assert running.add_insecure_port(f"127.0.0.1:{port}") == port
    await running.start()
    try:
        assert (await attempt(port)).ok
    finally:
        await running.stop(None)
