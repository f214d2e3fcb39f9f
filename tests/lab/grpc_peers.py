"""A gRPC service, and a client that calls it without a pause beside one open stream, in networks of their own.

python -m tests.lab.grpc_peers HOST:PORT    until its standard input ends; then what it got, as JSON
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import grpc

from tests.lab import netns

_ASK, _STREAM = "/lab.Peers/Ask", "/lab.Peers/Stream"
_EVERY = 0.05  # seconds
_ROOT = Path(__file__).resolve().parents[2]


class _Service(grpc.GenericRpcHandler):
    """Without serializers: a message is its bytes."""

    def __init__(self, release: threading.Event) -> None:
        self._release = release

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handlers: dict[str, Any] = {
            _ASK: grpc.unary_unary_rpc_method_handler(lambda request, _: request),
            _STREAM: grpc.unary_stream_rpc_method_handler(self._stream),
        }
        return handlers.get(handler_call_details.method)

    def _stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        while context.is_active():
            yield request
            if self._release.wait(_EVERY):
                return


@contextlib.contextmanager
def service(space: netns.Namespace, address: str) -> Iterator[threading.Event]:
    """At this HOST:PORT of the namespace. The event ends the streams."""
    release = threading.Event()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_Service(release)])
    assert space.inside(lambda: server.add_insecure_port(address))
    server.start()
    try:
        yield release
    finally:
        release.set()
        server.stop(None).wait()


@dataclass
class Called:
    """`calls`: by status; `stream`: how it ended; `messages`: of the stream."""

    calls: Counter[str]
    stream: str
    messages: int


@contextlib.contextmanager
def calling(space: netns.Namespace, address: str) -> Iterator[list[Called]]:
    """While the block runs, once the stream is open; afterwards the list has what the client got."""
    command, found = space.command(sys.executable, "-m", "tests.lab.grpc_peers", address), list[Called]()
    with subprocess.Popen(command, cwd=_ROOT, text=True, stdin=PIPE, stdout=PIPE, env={**os.environ}) as client:
        assert client.stdin is not None and client.stdout is not None
        assert client.stdout.readline() == "open\n"
        try:
            yield found
        finally:
            client.stdin.close()
            told = json.loads(client.stdout.read())
            found.append(Called(Counter(told["calls"]), told["stream"], told["messages"]))


class _Client:
    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._calls: Counter[str] = Counter()
        self._messages = 0
        self._ended = ""
        self._over = threading.Event()

    def run(self) -> None:
        reading = threading.Thread(target=self._read)
        reading.start()
        ask: Any = self._channel.unary_unary(_ASK)
        threading.Thread(target=self._until_told, daemon=True).start()
        while not self._over.wait(_EVERY):
            self._calls[_code(lambda: ask(b"more", timeout=5))] += 1
        self._channel.close()
        reading.join()
        print(json.dumps({"calls": self._calls, "stream": self._ended, "messages": self._messages}))

    def _until_told(self) -> None:
        sys.stdin.read()
        self._over.set()

    def _read(self) -> None:
        self._ended = _code(self._messages_of_the_stream)

    def _messages_of_the_stream(self) -> None:
        stream: Any = self._channel.unary_stream(_STREAM)
        for _ in stream(b"more"):
            if not self._messages:
                print("open", flush=True)
            self._messages += 1


def _code(call: Any) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


if __name__ == "__main__":
    _Client(sys.argv[1]).run()
