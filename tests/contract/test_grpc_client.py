"""The client of gRPC against gRPC's own server, and against servers that answer in a way of their own."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamEnded
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.grpc_client import Code, Dial, Failed, stream, unary
from agent.adapters.grpc_client.call import Call
from tests.contract.probe_servers import Serve, resets, server

METHOD = "/test.Things/Get"
Headers = list[tuple[str, str]]


def to(port: int) -> Dial:
    return lambda: asyncio.open_connection("127.0.0.1", port)


async def failure(port: int, most: int = 1 << 20) -> Failed:
    with pytest.raises(Failed) as caught:
        await unary(to(port), METHOD, b"ask", most=most)
    return caught.value


# gRPC's own server ----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def grpc_server(path: Path, answer: Callable[[bytes, Any], AsyncIterator[bytes]]) -> AsyncIterator[Dial]:
    behaviour: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(answer)
    running = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Things", {"Get": behaviour}),))
    running.add_insecure_port(f"unix:{path}")
    await running.start()
    try:
        yield lambda: asyncio.open_unix_connection(path)
    finally:
        await running.stop(None)


async def test_messages_of_every_size_come_whole_and_in_order(tmp_path: Path) -> None:
    """Far more than HTTP/2's first window: what was read is acknowledged."""
    sizes = [0, 1, 16_384, 65_536, 3_000_000, 0, 7]

    async def answer(asked: bytes, context: Any) -> AsyncIterator[bytes]:
        for size in sizes:
            yield asked * size

    async with grpc_server(tmp_path / "s", answer) as dial, aclosing(stream(dial, METHOD, b"x")) as messages:
        assert [message async for message in messages] == [b"x" * size for size in sizes]


async def test_headers_come_and_the_servers_words_come_back_in_any_letters(tmp_path: Path) -> None:
    async def answer(asked: bytes, context: Any) -> AsyncIterator[bytes]:
        given = dict(context.invocation_metadata())
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"ünwell: 100 %, {given['x-mine']}\n2nd line")
        yield b""

    async with grpc_server(tmp_path / "s", answer) as dial:
        with pytest.raises(Failed) as caught:
            await unary(dial, METHOD, b"", [("x-mine", "yes")])
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert caught.value.words == "ünwell: 100 %, yes\n2nd line"


async def test_every_code_is_gRPCs(tmp_path: Path) -> None:
    assert {code.name: int(code) for code in Code} == {code.name: code.value[0] for code in grpc.StatusCode}


async def test_a_call_that_is_left_ends_at_the_server(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def answer(asked: bytes, context: Any) -> AsyncIterator[bytes]:
        context.add_done_callback(lambda _: ended.set())
        yield b"first"
        await asyncio.Event().wait()

    async with grpc_server(tmp_path / "s", answer) as dial, asyncio.timeout(30):
        async with aclosing(stream(dial, METHOD, b"")) as messages:
            assert await anext(messages) == b"first"
        await ended.wait()


# servers of their own -------------------------------------------------------------------------------

OK = [("grpc-status", "0")]
GRPC = [(":status", "200"), ("content-type", "application/grpc+proto")]


def framed(message: bytes, compressed: int = 0) -> bytes:
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message


def answering(does: Callable[[H2Connection, int], None]) -> Serve:
    """Once the request is whole, `does` answers it, all in one piece."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(1 << 16):
            for event in connection.receive_data(data):
                if isinstance(event, StreamEnded):
                    does(connection, event.stream_id)
                if isinstance(event, RequestReceived):
                    assert dict(event.headers)[b":path"] == METHOD.encode()
            writer.write(connection.data_to_send())
            await writer.drain()

    return serve


def saying(body: bytes, head: Headers = GRPC, trailers: Headers | None = OK) -> Serve:
    def does(connection: H2Connection, number: int) -> None:
        connection.send_headers(number, head)
        connection.send_data(number, body, end_stream=trailers is None)
        if trailers is not None:
            connection.send_headers(number, trailers, end_stream=True)

    return answering(does)


def only_head(head: Headers) -> Serve:
    return answering(lambda connection, number: connection.send_headers(number, head, end_stream=True))


def resetting(code: ErrorCodes) -> Serve:
    return answering(lambda connection, number: connection.reset_stream(number, code))


async def test_an_answer_of_one_message() -> None:
    async with server(saying(framed(b"yes"))) as port:
        assert await unary(to(port), METHOD, b"ask") == b"yes"


@pytest.mark.parametrize(
    ("serve", "code", "words"),
    [
        (only_head([(":status", "404")]), Code.UNIMPLEMENTED, "HTTP status 404"),
        (only_head([(":status", "503")]), Code.UNAVAILABLE, "HTTP status 503"),
        (only_head([(":status", "302")]), Code.UNKNOWN, "HTTP status 302"),
        (only_head([(":status", "200"), ("content-type", "text/html")]), Code.UNKNOWN, "no gRPC, but text/html"),
        (only_head([*GRPC, ("grpc-status", "5"), ("grpc-message", "gone")]), Code.NOT_FOUND, "gone"),
        (only_head([*GRPC, ("grpc-status", "99")]), Code.UNKNOWN, ""),
        (only_head([*GRPC, ("grpc-status", "٣")]), Code.UNKNOWN, ""),
        (only_head([*GRPC, *OK]), Code.INTERNAL, "has no message"),
        (saying(b"", trailers=None), Code.INTERNAL, "without a status"),
        (saying(framed(b"a") + framed(b"b")), Code.INTERNAL, "more than one message"),
        (saying(framed(b"abc")[:-1]), Code.INTERNAL, "within a message"),
        (saying(framed(b"abc", compressed=1)), Code.INTERNAL, "compressed"),
        (saying(framed(b"yes"), trailers=[("grpc-status", "16")]), Code.UNAUTHENTICATED, ""),
        (resetting(ErrorCodes.REFUSED_STREAM), Code.UNAVAILABLE, "REFUSED_STREAM"),
        (resetting(ErrorCodes.CANCEL), Code.CANCELLED, "CANCEL"),
        (resetting(ErrorCodes.PROTOCOL_ERROR), Code.INTERNAL, "PROTOCOL_ERROR"),
        (answering(lambda connection, _: connection.close_connection()), Code.UNAVAILABLE, "ends the connection"),
        (resets, Code.UNAVAILABLE, "the connection broke: Connection reset by peer"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_none(serve: Serve, code: Code, words: str) -> None:
    async with server(serve) as port:
        found = await failure(port)
    assert (found.code, words in found.words) == (code, True), found


@pytest.mark.parametrize(("most", "good"), [(100, True), (99, False)])
async def test_a_message_is_bounded_by_what_it_claims(most: int, good: bool) -> None:
    async with server(saying(framed(b"x" * 100))) as port:
        if good:
            assert len(await unary(to(port), METHOD, b"", most=most)) == 100
        else:
            assert (await failure(port, most)).code is Code.RESOURCE_EXHAUSTED
    async with server(saying((2**32 - 1).to_bytes(5, "big"))) as port:
        assert (await failure(port)).code is Code.RESOURCE_EXHAUSTED, "4 GiB are claimed, none comes"


async def test_an_answer_is_good_though_the_server_resets_or_goes_away_right_after_it() -> None:
    def does(connection: H2Connection, number: int) -> None:
        connection.send_headers(number, GRPC)
        connection.send_data(number, framed(b"yes"))
        connection.send_headers(number, OK, end_stream=True)
        connection.close_connection()

    async with server(answering(does)) as port:
        assert await unary(to(port), METHOD, b"") == b"yes"


async def test_endless_headers_are_refused() -> None:
    def does(connection: H2Connection, number: int) -> None:
        connection.send_headers(number, [*GRPC, *((f"x-{n}", "y" * 8000) for n in range(20))])

    async with server(answering(does)) as port:
        assert (await failure(port)).code is Code.UNAVAILABLE


async def test_nothing_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await unary(to(bound.getsockname()[1]), METHOD, b"")


# bytes ----------------------------------------------------------------------------------------------


def answer_bytes(messages: Sequence[bytes]) -> bytes:
    """What a server sends for a first call."""
    connection = H2Connection(H2Configuration(client_side=False))
    connection.initiate_connection()
    connection.receive_data(Call(METHOD, b"", (), 1 << 20).to_send())
    connection.send_headers(1, GRPC)
    for message in messages:
        connection.send_data(1, framed(message))
    connection.send_headers(1, OK, end_stream=True)
    return connection.data_to_send()


@given(st.lists(st.binary(max_size=300), max_size=4), st.lists(st.integers(0, 1500), max_size=8))
def test_however_the_bytes_come_the_messages_are_the_same(messages: list[bytes], cuts: list[int]) -> None:
    call, data = Call(METHOD, b"", (), 1 << 20), answer_bytes(messages)
    edges = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    found: list[bytes] = []
    for begin, end in itertools.pairwise(edges):
        found += call.received(data[begin:end])
    assert found == messages and call.ended


@given(st.binary(min_size=1, max_size=300), st.integers(0, 200), st.booleans())
def test_bytes_of_any_kind_end_in_one_kind_of_failure_or_none(noise: bytes, at: int, replace: bool) -> None:
    data = answer_bytes([b"first", b"second"])
    data = data[:at] + noise + data[at + len(noise) if replace else at :]
    with contextlib.suppress(Failed):
        list(Call(METHOD, b"", (), 1 << 20).received(data))


async def test_a_server_that_reads_nothing_holds_nobody_up() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with server(deaf) as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await unary(to(port), METHOD, b"x" * 10_000)
