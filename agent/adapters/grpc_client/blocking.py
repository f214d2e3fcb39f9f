"""The first message of one call, for a program that does nothing else meanwhile."""

import socket
import time

from agent.adapters.grpc_client.call import Call, Headers
from agent.adapters.grpc_client.status import Code, Failed


def first(path: str, method: str, request: bytes, headers: Headers, most: int, within: float) -> bytes:
    """`path`: of a unix socket. Raises Failed, and OSError, which a timeout is too."""
    until, call = time.monotonic() + within, Call(method, request, headers, most)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(within)
        connection.connect(path)
        while not call.ended:
            connection.sendall(call.to_send())
            connection.settimeout(max(until - time.monotonic(), 0.001))
            for message in call.received(connection.recv(1 << 16)):
                return message
    raise Failed(Code.UNKNOWN, "the call ended without a message")
