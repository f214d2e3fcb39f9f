"""Reads the SPIFFE Workload API, as this process's own user: gRPC's stream, and `spiffe` to read what comes by it.

The stream is followed here and not by the `spiffe` package's client, which knows neither gRPC's code and words
where a call fails nor the hints, follows in a thread, and lets one SVID that cannot be read hide all others.
Nothing is tried again here: the caller does, and says why.

Of each SVID only its description is kept. Its private key is read once, to see that it belongs to the certificate,
and is never held or logged.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import DecodeError
from spiffe import X509Svid

# The output of protoc for the standard's .proto. The package keeps it under a private name; to make our own would
# add a compiler to the build for the same bytes.
from spiffe._proto import workload_pb2 as proto
from spiffe.bundle.x509_bundle.x509_bundle import X509Bundle
from spiffe.errors import PySpiffeError

from agent.core.facts import Svid
from agent.core.reasons import Reason
from agent.ports import Trouble

FIRST_ANSWER_WITHIN = 4.0

_METHOD: Final = "/SpiffeWorkloadAPI/FetchX509SVID"
_HEADER: Final = (("workload.spiffe.io", "true"),)  # SPIFFE Workload API standard, §4: against request forgery
# Else this channel would wait in the backoff of any other to the same path that has failed.
_OWN: Final = (("grpc.use_local_subchannel_pool", 1),)
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_UNREADABLE = (PySpiffeError, ValueError, UnsupportedAlgorithm)
# Linkerd's proxy stops asking after INVALID_ARGUMENT, as the standard requires (docs/linkerd.md §1.6), so this
# failure has a separate reason.
_CODES = {
    grpc.StatusCode.PERMISSION_DENIED: Reason.WORKLOAD_API_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT: Reason.WORKLOAD_API_INVALID,
}


class SpireWorkloadApi:
    """Implements ports.WorkloadApi. `path`: of the unix socket. `within`: seconds for the first answer."""

    def __init__(self, path: str, within: float = FIRST_ANSWER_WITHIN) -> None:
        self._path, self._within = path, within

    async def watch(self) -> AsyncGenerator[Sequence[Svid], None]:
        await _knock(self._path)
        async with (
            grpc.aio.insecure_channel(f"unix:{self._path}", options=_OWN) as channel,
            aclosing(_answers(channel)) as answers,
        ):
            yield await self._first(answers)
            async for svids in answers:
                yield svids
        raise Trouble(Reason.WORKLOAD_API_FAILED, "the stream has ended")

    async def _first(self, answers: AsyncIterator[Sequence[Svid]]) -> Sequence[Svid]:
        try:
            async with asyncio.timeout(self._within):
                return await anext(answers)
        except TimeoutError:
            raise Trouble(Reason.WORKLOAD_API_SILENT, f"no answer within {self._within:g} s") from None
        except StopAsyncIteration:
            raise Trouble(Reason.WORKLOAD_API_FAILED, "the stream ended without an answer") from None


async def fetch_once(path: str, within: float = FIRST_ANSWER_WITHIN) -> Sequence[Svid]:
    """The SVIDs of this moment. Raises Trouble (WORKLOAD_API_*)."""
    async with aclosing(SpireWorkloadApi(path, within).watch()) as updates:
        return await anext(updates)


async def _knock(path: str) -> None:
    """Connect once and hang up: the kernel says exactly what is wrong, where gRPC says UNAVAILABLE."""
    with socket.socket(socket.AF_UNIX) as knocking:
        knocking.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(knocking, path)
        except (FileNotFoundError, NotADirectoryError):
            raise Trouble(Reason.WORKLOAD_API_ABSENT, f"{path} does not exist") from None
        except OSError as error:
            raise Trouble(
                Reason.WORKLOAD_API_REFUSED, f"cannot connect to {path}: {error.strerror or error}"
            ) from None


async def _answers(channel: grpc.aio.Channel) -> AsyncGenerator[Sequence[Svid], None]:
    # In bytes: an answer that gRPC's own decoding fails at it would hand over as None.
    ask: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(_METHOD)
    call = ask(b"", metadata=_HEADER)
    try:
        async for answer in call:
            yield _read(answer)
    except grpc.aio.AioRpcError as error:
        raise _trouble(error) from None
    finally:
        call.cancel()


def _read(answer: bytes) -> Sequence[Svid]:
    try:
        svids = proto.X509SVIDResponse.FromString(answer).svids
    except DecodeError as error:
        raise Trouble(Reason.WORKLOAD_API_FAILED, f"an answer that cannot be read: {error}") from None
    if not svids:
        raise Trouble(Reason.WORKLOAD_API_FAILED, "an answer without any SVID")
    return [_describe(svid) for svid in svids]


def _trouble(error: grpc.aio.AioRpcError) -> Trouble:
    said = f"{error.code().name}: {error.details()}"
    return Trouble(_CODES.get(error.code(), Reason.WORKLOAD_API_FAILED), said)


# what an SVID is ------------------------------------------------------------------------------------


def _describe(svid: proto.X509SVID) -> Svid:
    """One that cannot be read is described as such: it hides no other, and what it says of itself stays."""
    try:
        parsed = X509Svid.parse_raw(svid.x509_svid, svid.x509_svid_key)
    except _UNREADABLE as error:
        return Svid(svid.spiffe_id, "", 0.0, 0.0, svid.hint, f"cannot read it: {error}")
    leaf = parsed.leaf
    return Svid(
        str(parsed.spiffe_id),
        _key_type(leaf.public_key()),
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
        svid.hint,
        _flaw(parsed, svid.spiffe_id),
        _der(parsed.cert_chain),
        _bundle(parsed, svid.bundle),
    )


def _flaw(parsed: X509Svid, claimed: str) -> str:
    if parsed.private_key.public_key() != parsed.leaf.public_key():
        return "its key does not belong to its certificate"
    if claimed != str(parsed.spiffe_id):
        return f"its certificate is for {parsed.spiffe_id}"
    return ""


def _bundle(parsed: X509Svid, der: bytes) -> tuple[bytes, ...]:
    """() where it cannot be read: the proxy never looks at it, so it is no reason to refuse the SVID."""
    try:
        return tuple(sorted(_der(X509Bundle.parse_raw(parsed.spiffe_id.trust_domain, der).x509_authorities)))
    except _UNREADABLE:
        return ()


def _der(certificates: "Sequence[x509.Certificate] | set[x509.Certificate]") -> tuple[bytes, ...]:
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def _key_type(key: CertificatePublicKeyTypes) -> str:
    match key:
        case ec.EllipticCurvePublicKey():
            return f"EC {_CURVES.get(key.curve.name, key.curve.name)}"
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case _:
            return type(key).__name__
