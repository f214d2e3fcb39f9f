"""gRPC health, grpc.health.v1. Its two messages have one field each, so their bytes are written here."""

import asyncio

from agent.adapters import grpc_client
from agent.adapters.grpc_client import Code, Failed
from agent.adapters.probes.network import USER_AGENT
from agent.core.probe import Attempt, ProbeSpec

METHOD = "/grpc.health.v1.Health/Check"
MOST = 10 * 1024  # bytes of an answer
STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


async def check(spec: ProbeSpec) -> Attempt:
    """Raises OSError: no connection."""
    target = f"[{spec.host}]:{spec.port}" if ":" in spec.host else f"{spec.host}:{spec.port}"
    headers = ((":authority", target), ("user-agent", USER_AGENT))

    async def dial() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(spec.host, spec.port)

    try:
        answer = await grpc_client.unary(dial, METHOD, request(spec.service), headers, MOST)
    except Failed as error:
        return Attempt(False, _explain(spec, error))
    serving = status(answer)
    return Attempt(serving == "SERVING", serving or "the answer is not a health message")


def request(service: str) -> bytes:
    """HealthCheckRequest {string service = 1}; `service` is of at most 127 bytes."""
    raw = service.encode()
    assert len(raw) < 128
    return b"\x0a" + bytes([len(raw)]) + raw if raw else b""


def status(answer: bytes) -> str:
    """HealthCheckResponse {ServingStatus status = 1}; "" when it is none. Zero is left out on the wire."""
    if answer == b"":
        return STATUSES[0]
    known = len(answer) == 2 and answer[0] == 0x08 and answer[1] < len(STATUSES)
    return STATUSES[answer[1]] if known else ""


def _explain(spec: ProbeSpec, error: Failed) -> str:
    match error.code:
        case Code.UNIMPLEMENTED:
            return "the server does not offer grpc.health.v1"
        case Code.NOT_FOUND:
            return f"the server knows no service {spec.service!r}"
        case code:
            return f"gRPC {code.name}: {error.words}"
