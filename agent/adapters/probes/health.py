"""gRPC health, grpc.health.v1. Its two messages have one field each, so their bytes are written here."""

import grpc.aio

from agent.adapters.probes.network import USER_AGENT, refused
from agent.core.probe import Attempt, ProbeSpec

METHOD = "/grpc.health.v1.Health/Check"
OPTIONS = (
    ("grpc.primary_user_agent", USER_AGENT),
    ("grpc.enable_http_proxy", 0),  # whatever the environment says: the workload itself is asked
    ("grpc.max_receive_message_length", 10 * 1024),
    ("grpc.use_local_subchannel_pool", 1),  # each try is one: it waits in the backoff of no other
)
STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


async def check(spec: ProbeSpec) -> Attempt:
    target = f"[{spec.host}]:{spec.port}" if ":" in spec.host else f"{spec.host}:{spec.port}"
    async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
        try:
            call = channel.unary_unary(METHOD, request_serializer=bytes, response_deserializer=bytes)
            answer = await call(request(spec.service))
        except grpc.aio.AioRpcError as error:
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


def _explain(spec: ProbeSpec, error: grpc.aio.AioRpcError) -> str:
    details = error.details() or ""
    match error.code():
        case grpc.StatusCode.UNAVAILABLE if "Connection refused" in details:
            return refused(spec)
        case grpc.StatusCode.UNIMPLEMENTED:
            return "the server does not offer grpc.health.v1"
        case grpc.StatusCode.NOT_FOUND:
            return f"the server knows no service {spec.service!r}"
        case code:
            return f"gRPC {code.name}: {details}"
