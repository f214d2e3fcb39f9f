"""An X.509-SVID by the rules of the standard (X509-SVID, §3 to §5). `cryptography` reads each certificate and key.

The private key is read once, to see that it belongs to the certificate, and is never held or logged.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key

from agent.core import spiffe
from agent.core.anchors import Certificates

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class Malformed(Exception):
    """It is no X.509-SVID, and why."""


@dataclass(frozen=True)
class Described:
    """Moments: seconds since the epoch. `key_fits`: the key belongs to the certificate."""

    spiffe_id: str
    key_type: str
    not_before: float
    not_after: float
    chain: Certificates
    key_fits: bool


def describe(chain: bytes, key: bytes) -> Described:
    """`chain`: certificates in DER, one after the other, the leaf first. `key`: PKCS #8 in DER. Raises
    Malformed."""
    try:
        ders = tuple(certificates(chain))
        leaf, *issuers = [x509.load_der_x509_certificate(der) for der in ders]
        _check_leaf(leaf)
        for issuer in issuers:
            _check_issuer(issuer)
        return _described(leaf, ders, key)
    except _UNREADABLE as error:
        raise Malformed(f"its certificate cannot be read: {error}") from None


def _described(leaf: x509.Certificate, chain: Certificates, key: bytes) -> Described:
    public = leaf.public_key()
    return Described(
        _spiffe_id(leaf),
        _key_type(public),
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
        chain,
        _fits(key, public),
    )


def authorities(bundle: bytes) -> Certificates:
    """The certificates of a bundle, each once and in an order of their own; () where it cannot be read: the proxy
    never looks at it, so it is no reason to refuse the SVID."""
    try:
        found = {der: x509.load_der_x509_certificate(der) for der in certificates(bundle)}
    except _UNREADABLE:
        return ()
    return tuple(sorted(found))


def certificates(ders: bytes) -> Iterator[bytes]:
    """What stands one after the other, cut apart by the length that each begins with. Whether it is a certificate
    of just that length is for `cryptography` to say. Raises ValueError."""
    if not ders:
        raise ValueError("there is none")
    at = 0
    while at < len(ders):
        end = _end(ders, at)
        yield ders[at:end]
        at = end


def _end(ders: bytes, at: int) -> int:
    """Where the value of DER ends that begins at `at`: after its tag of one byte, its length, and its contents."""
    short = ders[at + 1] if at + 1 < len(ders) else 0x80
    following = max(0, short - 0x80)  # bytes that hold the length, where it is a long one
    begin = at + 2 + following
    end = begin + (int.from_bytes(ders[at + 2 : begin], "big") if following else short)
    if short == 0x80 or end > len(ders):
        raise ValueError("it is cut off")
    return end


# the standard's rules ---------------------------------------------------------------------------------


def _check_leaf(leaf: x509.Certificate) -> None:
    constraints, usage = _constraints(leaf), _usage(leaf)
    if constraints.ca:
        raise Malformed("its certificate is that of an authority")
    if not usage.digital_signature:
        raise Malformed("its certificate is not for digital signatures")
    if usage.key_cert_sign or usage.crl_sign:
        raise Malformed("its certificate may sign certificates or revocations")


def _check_issuer(issuer: x509.Certificate) -> None:
    if not (_constraints(issuer).ca and _usage(issuer).key_cert_sign):
        raise Malformed("a certificate after the first may not sign certificates")


def _constraints(certificate: x509.Certificate) -> x509.BasicConstraints:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise Malformed("a certificate has no basic constraints") from None


def _usage(certificate: x509.Certificate) -> x509.KeyUsage:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise Malformed("a certificate has no key usage") from None


def _spiffe_id(leaf: x509.Certificate) -> str:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise Malformed("its certificate has no name") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise Malformed(f"its certificate has {len(uris)} URIs, and one is allowed")
    try:
        parsed = spiffe.parse(uris[0])
    except ValueError as error:
        raise Malformed(f"its certificate has the URI {uris[0]!r}, which is no SPIFFE ID: {error}") from None
    if not parsed.path:
        raise Malformed("its certificate names a trust domain and no workload")
    return str(parsed)


# keys -------------------------------------------------------------------------------------------------


def _fits(key: bytes, public: CertificatePublicKeyTypes) -> bool:
    try:
        return load_der_private_key(key, None).public_key() == public
    except (ValueError, TypeError, UnsupportedAlgorithm):  # `from None`: nothing of a key is in an error
        raise Malformed("its key cannot be read") from None


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
