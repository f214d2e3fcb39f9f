"""Linkerd's identity controller as a proxy in token mode meets it: Identity.Certify, by a scene's authority.

It does not check a token's signature, since tokens are unsigned here; name, audience and CSR are judged as
docs/linkerd.md §4 says. The two messages have a few fields each, so their bytes are read and written by hand;
linkerd2-proxy 2.366 takes them.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
from cryptography import x509

from agent.core import token
from agent.sandbox.identity.ca import Authority

METHOD = "/io.linkerd.proxy.identity.Identity/Certify"
IDENTITY, TOKEN, REQUEST = 1, 2, 3  # fields of the request
LEAF, VALID_UNTIL = 1, 3  # and of the response


class IdentityController:
    """`control_namespace`, `trust_domain`: parts of every name that it gives. `ttl`: of a certificate, seconds."""

    def __init__(self, authority: Authority, control_namespace: str, trust_domain: str, ttl: float) -> None:
        self._authority, self._ttl = authority, ttl
        self._parts = control_namespace, trust_domain
        self.server_name = token.identity("linkerd-identity", control_namespace, *self._parts)
        self.certified: list[str] = []

    @contextlib.asynccontextmanager
    async def serving(self, address: str) -> AsyncIterator[None]:
        """`address`: host:port."""
        certificate, key = self._authority.tls_server([self.server_name])
        server = grpc.aio.server()
        service, _, method = METHOD.removeprefix("/").partition("/")
        handlers: dict[str, Any] = {method: grpc.unary_unary_rpc_method_handler(self._certify)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        pair = (key.encode(), certificate.encode())
        server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        await server.start()
        try:
            yield
        finally:
            await server.stop(0)

    async def _certify(self, request: bytes, context: Any) -> bytes:
        request_fields = dict(fields(request))
        name = request_fields[IDENTITY].decode()
        csr = x509.load_der_x509_csr(request_fields[REQUEST])
        if why := self._why_not(name, request_fields[TOKEN].decode(), csr):
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, why)
        self.certified.append(name)
        until = b"\x08" + _varint(int(time.time() + self._ttl))  # a Timestamp's seconds
        leaf = self._authority.certified(csr, name, self._ttl)
        return field(LEAF, leaf) + field(VALID_UNTIL, until)

    def _why_not(self, name: str, text: str, csr: x509.CertificateSigningRequest) -> str | None:
        claims = token.claims(text)
        *_, namespace, account = claims.subject.split(":")
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if fault := token.usable(claims, token.subject(account, namespace), time.time()):
            return fault.detail
        if name != token.identity(account, namespace, *self._parts):
            return "the token is another's"
        good = csr.is_signature_valid and list(names) == [x509.DNSName(name)]
        return None if good else "the request is not for that name"


# the bytes ------------------------------------------------------------------------------------------


def field(number: int, content: bytes) -> bytes:
    """One field of bytes, as protobuf has it."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field of bytes; other kinds do not occur in requests."""
    rest = message
    while rest:
        tag, rest = _read_varint(rest)
        length, rest = _read_varint(rest)
        yield tag >> 3, rest[:length]
        rest = rest[length:]


def _varint(number: int) -> bytes:
    head, more = number & 0x7F, number >> 7
    return bytes([head | 0x80]) + _varint(more) if more else bytes([head])


def _read_varint(data: bytes) -> tuple[int, bytes]:
    more, rest = (0, data[1:]) if data[0] < 0x80 else _read_varint(data[1:])
    return data[0] & 0x7F | more << 7, rest
