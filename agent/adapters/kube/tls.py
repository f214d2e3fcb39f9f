"""The TLS side of a call: always verified, by the configured authority alone."""

import os
import re
import ssl
from contextlib import suppress

from agent.adapters import http_client
from agent.adapters.http_client import Connection, Server
from agent.adapters.kube.access import Access
from agent.core import text_files
from agent.core.reasons import Reason
from agent.ports import Trouble

# OpenSSL's verdicts (x509_vfy.h); Python names none of them.
_NOT_YET_VALID, _EXPIRED, _WRONG_NAME, _WRONG_ADDRESS = 9, 10, 62, 64


_BLOCK = re.compile(r"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----.+?-----END \1-----", re.DOTALL)


class Contexts:
    """The context for an Access; the same one for as long as authority and certificate are the same."""

    def __init__(self) -> None:
        self._key: tuple[bytes, bytes] | None = None
        self._context: ssl.SSLContext | None = None

    def context(self, access: Access) -> ssl.SSLContext:
        """Raises Trouble (API_CREDENTIAL_UNREADABLE)."""
        key = access.authority, access.certificate
        if self._context is None or key != self._key:
            self._context, self._key = _context(access), key
        return self._context


def _context(access: Access) -> ssl.SSLContext:
    # Not create_default_context: on an empty file that one falls back to the system's trust.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate may be the anchor, as in Go
    if not _trusts(context, text_files.armour(access.authority)):
        raise Trouble(Reason.API_CREDENTIAL_UNREADABLE, f"{access.authority_from}: it holds no PEM certificate")
    if access.certificate:
        _present(context, access.certificate)
    return context


def _trusts(context: ssl.SSLContext, pem: str) -> bool:
    """Any certificate of it could be read. As in Go, one that cannot be read leaves the others in use."""
    good = False
    for block in _BLOCK.finditer(pem):
        with suppress(ssl.SSLError, ValueError):
            context.load_verify_locations(cadata=block[0])
            good = True
    return good


def _present(context: ssl.SSLContext, certificate: bytes) -> None:
    """Python loads a key from files only: here from one that has no name and never touches a disk."""
    held = os.memfd_create("fairlead-client-certificate")
    try:
        with os.fdopen(held, "wb", closefd=False) as file:
            file.write(text_files.armour(certificate).encode())
        context.load_cert_chain(f"/proc/self/fd/{held}", password=_no_password)
    except (ssl.SSLError, ValueError):  # `from None`: OpenSSL's words may quote what it read
        detail = "the client certificate and its key are no pair in PEM, or the key has a password"
        raise Trouble(Reason.API_CREDENTIAL_UNREADABLE, detail) from None
    finally:
        os.close(held)


def _no_password() -> str:
    """Without this OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")


class Untrusted(Exception):
    """The connection failed for TLS: the server cannot be trusted."""

    def __init__(self, cause: ssl.SSLError) -> None:
        super().__init__(str(cause))
        self.cause = cause


async def connect(server: Server) -> Connection:
    """Raises Untrusted, OSError."""
    try:
        return await http_client.connect(server)
    except ssl.SSLError as error:
        raise Untrusted(error) from error


def reason(error: ssl.SSLError) -> Reason:
    match getattr(error, "verify_code", None):
        case code if code in (_WRONG_NAME, _WRONG_ADDRESS):
            return Reason.API_NAME_MISMATCH
        case code if code in (_EXPIRED, _NOT_YET_VALID):
            return Reason.API_CERTIFICATE_EXPIRED
        case _:
            return Reason.API_UNVERIFIED
