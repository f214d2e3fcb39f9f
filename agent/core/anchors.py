"""The mesh's trust anchors as values: the content of a PEM file, the digest of a set, and when a host with new
anchors should restart its proxy.

The proxy reads its anchors once, at its start (docs/linkerd.md §1.1), so new ones need a restart of the proxy. A
mesh whose hosts all restart at once would be down for that time, so each host waits for a different time.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import TypeAlias

# Anchors that expire sooner than this many seconds are reported: a new root must reach every host and every
# namespace before the old one expires.
ANNOUNCED = 42 * 86400.0

Certificates: TypeAlias = tuple[bytes, ...]  # DER, each once, sorted

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")


def certificates(pem: str) -> Certificates:
    """The certificates (DER) of a PEM text, each once, sorted. They are not verified. Raises ValueError: there is
    none, or one is not base64."""
    try:
        blocks = {base64.b64decode("".join(block.split()), validate=True) for block in _BLOCK.findall(pem)}
    except binascii.Error as error:
        raise ValueError(f"it holds a certificate that is not base64: {error}") from None
    if not blocks:
        raise ValueError("it holds no certificate")
    return tuple(sorted(blocks))


def pem(ders: Iterable[bytes]) -> str:
    return "".join(_armoured(der) for der in sorted(set(ders)))


def _armoured(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[i : i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def digest(ders: Iterable[bytes]) -> str:
    """The digest of a set of anchors, independent of order, repetition and comments."""
    return hashlib.sha256(b"".join(hashlib.sha256(der).digest() for der in sorted(set(ders)))).hexdigest()


def restart_delay(name: str, digest: str, window: float) -> float:
    """Seconds, in [0, window), that the host `name` waits before it restarts its proxy for these anchors: always
    the same for both, and spread evenly over hosts."""
    drawn = hashlib.sha256(f"{name}\0{digest}".encode()).digest()
    return window * int.from_bytes(drawn[:8], "big") / 2**64
