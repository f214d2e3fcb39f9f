"""Whether a set of trust anchors covers an SVID."""

import functools
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from agent.core.anchors import Certificates

_DEPTH = 8  # certificates of one chain, as webpki has it


@functools.lru_cache(maxsize=64)
def load(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


@functools.lru_cache(maxsize=16)
def covered_until(certificates: Certificates, chain: Certificates) -> float | None:
    """When the last of the anchors ends that `chain` leads to, in seconds since the epoch; None: it leads to none.
    Without a chain, when the last of all ends.

    Only signatures and names are checked, as rustls does for an anchor: the proxy accepts an expired one.
    """
    roots = [load(der) for der in certificates]
    reached = roots if not chain else _reached(load(chain[0]), [load(der) for der in chain[1:]], roots)
    return max((root.not_valid_after_utc.timestamp() for root in reached), default=None)


def _reached(
    leaf: x509.Certificate, between: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """Every anchor to which a path of issuers leads. The other certificates may be unordered or unused."""
    found, path, seen = [], [leaf], {leaf}
    while path and len(seen) <= _DEPTH:
        certificate = path.pop()
        found += [root for root in roots if root == certificate or _issued(certificate, root)]
        issuers = [each for each in between if each not in seen and _issued(certificate, each)]
        path += issuers
        seen |= set(issuers)
    return found


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
