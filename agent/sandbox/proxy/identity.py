"""The stand-in's identity: SVIDs from the Workload API, and TLS with them."""

import asyncio
import errno
import itertools
import os
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import WorkloadApiClient, X509Svid
from spiffe.workloadapi.workload_api_client import RetryPolicy
from spiffe.workloadapi.x509_context import X509Context

from agent.sandbox.identity import controller
from agent.sandbox.proxy import transport_header
from agent.sandbox.proxy.settings import Settings, TokenSettings

Log = Callable[[str], None]


class NoTrustRoots(Exception):
    """The anchors hold no certificate: exit 1."""


class Identity:
    """`certified`: set by the first SVID that fits, permanently. `expires`, `refreshed`: seconds since the epoch;
    0.0: never. `dead`: set when the Workload API could not be reached at the start, and is not tried again."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings, self._log = settings, log
        self._anchors = _anchors(settings.trust_anchors)
        self._tls: ssl.SSLContext | None = None
        self.certified, self.dead = asyncio.Event(), asyncio.Event()
        self.expires = self.refreshed = 0.0
        self.refreshes = {"ok": 0, "error": 0}

    @property
    def tls(self) -> ssl.SSLContext:
        """For servers, with the newest SVID: TLS 1.3. A client may prove an identity; it is the inbound policy
        that asks for one."""
        assert self._tls is not None
        return self._tls

    async def follow(self) -> None:
        """Take every SVID that comes, until cancelled. Only the first connect is not repeated (docs/linkerd.md
        §1.6)."""
        path = self._settings.workload_api
        if self._settings.token is not None:
            await self._certify_for_ever(self._settings.token)
        try:
            if "STANDIN_PANIC" in os.environ:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "as it was told")
            _, writer = await asyncio.open_unix_connection(path)
            writer.close()
        except OSError as error:
            self._log(f"panicked: spire client must gracefully handle errors: {error.strerror}")
            self.dead.set()
            return
        loop = asyncio.get_running_loop()

        def heard(context: X509Context) -> None:
            loop.call_soon_threadsafe(self._receive, context.x509_svids)

        def failed(error: Exception) -> None:
            loop.call_soon_threadsafe(self._log, f"the Workload API's stream has ended: {error}")

        with WorkloadApiClient(f"unix:{path}") as client:
            retry = RetryPolicy(base_backoff_in_seconds=0.1, backoff_factor=2, max_backoff=1.0)
            stream = client.stream_x509_contexts(heard, failed, retry_policy=retry)
            try:
                await asyncio.Event().wait()
            finally:
                stream.cancel()

    async def _certify_for_ever(self, wanted: TokenSettings) -> None:
        """At the start and at 70 % of each certificate; where it is refused, again every 10 s (docs/linkerd.md
        §1.4)."""
        while True:
            pause = 10.0
            try:
                leaf = await _certified(wanted, self._settings.server_id, self._settings.trust_anchors)
            except (grpc.aio.AioRpcError, OSError) as error:
                self.refreshes["error"] += 1
                self._log(f"Failed to obtain identity: {type(error).__name__}")
            else:
                key = serialization.load_der_private_key(wanted.key.read_bytes(), None)
                self._take(key, [leaf], self._settings.server_id)
                pause = 0.7 * (self.expires - time.time())
            await asyncio.sleep(pause)

    def _receive(self, svids: Sequence[X509Svid]) -> None:
        mine = [svid for svid in svids if str(svid.spiffe_id) == self._settings.server_id]
        if not mine:
            self._log("Error processing SVID update error=no matching SVID found")
            return
        svid = mine[-1]
        if not _chains(svid.cert_chain, self._anchors):
            self.refreshes["error"] += 1
            self._log("the SVID does not chain to the trust anchors")
            return
        self._take(svid.private_key, svid.cert_chain, str(svid.spiffe_id))

    def _take(self, key: Any, chain: Sequence[x509.Certificate], name: str) -> None:
        self._tls = _server_context(key, chain, self._settings.trust_anchors)
        self.refreshes["ok"] += 1
        self.expires, self.refreshed = chain[0].not_valid_after_utc.timestamp(), time.time()
        if not self.certified.is_set():
            self._log(f"Certified identity id={name}")
            self.certified.set()


async def _certified(wanted: TokenSettings, name: str, anchors: str) -> x509.Certificate:
    """The token is read each time. Raises AioRpcError, OSError."""
    request = {
        controller.IDENTITY: name.encode(),
        controller.TOKEN: wanted.token.read_bytes(),
        controller.REQUEST: wanted.request.read_bytes(),
    }
    message = b"".join(controller.field(*one) for one in request.items())
    trust = grpc.ssl_channel_credentials(anchors.encode())
    options = [("grpc.ssl_target_name_override", wanted.controller_name)]
    async with grpc.aio.secure_channel(wanted.controller, trust, options) as channel:
        call: Any = channel.unary_unary(controller.METHOD)
        answer: bytes = await call(message, timeout=5)
    leaf = dict(controller.fields(answer))[controller.LEAF]
    return x509.load_der_x509_certificate(leaf)


def _anchors(pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise NoTrustRoots("no trust roots in PEM file") from error


def _chains(chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]) -> bool:
    """Each certificate is issued by the next, and the last by an anchor."""
    return all(_issued(a, b) for a, b in itertools.pairwise(chain)) and any(
        _issued(chain[-1], anchor) for anchor in anchors
    )


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _server_context(private: Any, certificates: Sequence[x509.Certificate], anchors: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols([transport_header.ALPN])
    context.load_verify_locations(cadata=anchors)
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    memory = os.memfd_create("svid")  # ssl takes keys from files alone; this one is on no disk
    try:
        os.write(memory, key + chain)
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
    return context
