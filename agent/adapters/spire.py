"""Reads the SPIFFE Workload API through the `spiffe` package, as this process's own user.

The package follows the stream in a thread of its own and tells of it by callbacks; here they become an
asynchronous iterator. Its own retries are silent, so they are off: the caller retries, and says why.

Of each SVID only its description is kept. The private key is never copied, held or logged here. The
package drops the hints of the protocol, so `Svid.hint` stays empty.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from spiffe import WorkloadApiClient, X509Svid
from spiffe.errors import PySpiffeError
from spiffe.workloadapi.x509_context import X509Context

from agent.core.facts import Svid
from agent.core.reasons import Reason
from agent.ports import Trouble

FIRST_ANSWER_WITHIN = 4.0

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}

Updates: TypeAlias = asyncio.Queue[Sequence[Svid] | Trouble]


class SpireWorkloadApi:
    """Implements ports.WorkloadApi. `path`: of the unix socket. `within`: seconds for the first answer."""

    def __init__(self, path: str, within: float = FIRST_ANSWER_WITHIN) -> None:
        self._path, self._within = path, within

    async def watch(self) -> AsyncGenerator[Sequence[Svid], None]:
        await _knock(self._path)
        with _stream(self._path) as updates:
            yield await self._first(updates)
            while True:
                yield _unless_trouble(await updates.get())

    async def _first(self, updates: Updates) -> Sequence[Svid]:
        try:
            async with asyncio.timeout(self._within):
                return _unless_trouble(await updates.get())
        except TimeoutError:
            raise Trouble(Reason.WORKLOAD_API_SILENT, f"no answer within {self._within:g} s") from None


async def fetch_once(path: str, within: float = FIRST_ANSWER_WITHIN) -> Sequence[Svid]:
    """The SVIDs of this moment. Raises Trouble (WORKLOAD_API_*)."""
    async with aclosing(SpireWorkloadApi(path, within).watch()) as updates:
        return await anext(updates)


def _unless_trouble(update: Sequence[Svid] | Trouble) -> Sequence[Svid]:
    if isinstance(update, Trouble):
        raise update
    return update


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


@contextlib.contextmanager
def _stream(path: str) -> Iterator[Updates]:
    """What the package's thread hears, handed over to this loop. On leaving, the stream is cancelled and the
    channel closed, which ends that thread within milliseconds."""
    loop, updates = asyncio.get_running_loop(), Updates()

    def heard(context: X509Context) -> None:
        loop.call_soon_threadsafe(updates.put_nowait, [_describe(svid) for svid in context.x509_svids])

    def failed(error: Exception) -> None:
        loop.call_soon_threadsafe(updates.put_nowait, _trouble(error))

    try:
        client = WorkloadApiClient(f"unix:{path}")
    except PySpiffeError as error:  # the path is no address for gRPC, or the socket went a moment ago
        raise Trouble(Reason.WORKLOAD_API_FAILED, str(error)) from None
    with client:
        stream = client.stream_x509_contexts(heard, failed, retry_connect=False)
        try:
            yield updates
        finally:
            stream.cancel()


def _trouble(error: Exception) -> Trouble:
    """The package gives gRPC's code by its name in the text, and nothing else of it."""
    denied = "PERMISSION_DENIED" in str(error)
    return Trouble(Reason.WORKLOAD_API_DENIED if denied else Reason.WORKLOAD_API_FAILED, str(error))


def _describe(svid: X509Svid) -> Svid:
    leaf = svid.leaf
    return Svid(
        str(svid.spiffe_id),
        _key_type(leaf.public_key()),
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
    )


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
