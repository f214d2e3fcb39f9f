"""A certificate authority of a SPIFFE trust domain. Its keys live in memory and end with the process.

What comes out satisfies the X509-SVID standard, OpenSSL's strict mode (Python's default from 3.13 on: key
identifiers everywhere, CA extensions critical), rustls' webpki and so linkerd2-proxy, and go-spiffe.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KeyType = Literal["ec-p256", "ec-p384", "rsa-2048"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

BACKDATED = -10.0  # seconds, as SPIRE does: clocks differ a little
ROOT_TTL = 365 * 86400.0  # far from where the end of an anchor is announced
SERVER_TTL = 86400.0


@dataclass(frozen=True)
class SvidMaterial:
    """An X.509-SVID with its key, in the Workload API's form (DER) and for files. `not_*`: epoch seconds."""

    cert_chain_der: bytes
    key_pkcs8_der: bytes = field(repr=False)
    cert_pem: str
    key_pem: str = field(repr=False)
    not_before: float
    not_after: float


class Authority:
    """The self-signed root of `trust_domain`, EC P-256, and what it issues. `der`, `pem`: the root."""

    def __init__(self, trust_domain: str) -> None:
        self.trust_domain = trust_domain
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(f"root of {trust_domain}")
        self._certificate = self._root()
        self.der = self._certificate.public_bytes(Encoding.DER)
        self.pem = self._certificate.public_bytes(Encoding.PEM).decode()

    def svid(
        self,
        spiffe_id: str,
        ttl_seconds: float,
        *,
        key_type: KeyType = "ec-p256",
        not_before_offset: float = BACKDATED,
    ) -> SvidMaterial:
        """An X.509-SVID that is valid from `not_before_offset` to `ttl_seconds` from now, with a new key."""
        key = _generate(key_type)
        start, end = _window(not_before_offset, ttl_seconds)
        sans = [x509.UniformResourceIdentifier(spiffe_id)]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = self._leaf(key.public_key(), sans, usages, start, end)
        return SvidMaterial(
            certificate.public_bytes(Encoding.DER),
            key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            certificate.public_bytes(Encoding.PEM).decode(),
            _key_pem(key),
            start.timestamp(),
            end.timestamp(),
        )

    def tls_server(
        self, names: Sequence[str], start: float = BACKDATED, end: float = SERVER_TTL
    ) -> tuple[str, str]:
        """Certificate and key (PEM) of a plain TLS server under `names`: DNS names and IP addresses; valid from
        `start` to `end`, in seconds from now."""
        key = _generate("ec-p256")
        since, until = _window(start, end)
        sans = [_general_name(name) for name in names]
        certificate = self._leaf(key.public_key(), sans, [ExtendedKeyUsageOID.SERVER_AUTH], since, until)
        return certificate.public_bytes(Encoding.PEM).decode(), _key_pem(key)

    def certified(self, request: x509.CertificateSigningRequest, name: str, ttl_seconds: float) -> bytes:
        """DER: for the key of `request`, under the DNS name alone."""
        key = request.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        leaf = self._leaf(key, [x509.DNSName(name)], usages, *_window(BACKDATED, ttl_seconds))
        return leaf.public_bytes(Encoding.DER)

    def _root(self) -> x509.Certificate:
        # The URI of the trust domain stands on the CA too: X509-SVID standard, §2.
        uri = x509.UniformResourceIdentifier(f"spiffe://{self.trust_domain}")
        builder = self._issue(self.name, self.key.public_key(), [uri], *_window(BACKDATED, ROOT_TTL))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
        return builder.sign(self.key, hashes.SHA256())

    def _leaf(
        self,
        key: PublicKey,
        sans: Sequence[x509.GeneralName],
        usages: Sequence[x509.ObjectIdentifier],
        start: datetime,
        end: datetime,
    ) -> x509.Certificate:
        builder = self._issue(_name("fairlead sandbox"), key, sans, start, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def _issue(
        self,
        subject: x509.Name,
        key: PublicKey,
        sans: Sequence[x509.GeneralName],
        start: datetime,
        end: datetime,
    ) -> x509.CertificateBuilder:
        """What every certificate has in common."""
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer, critical=False)
            .add_extension(x509.SubjectAlternativeName(sans), critical=False)
        )


def _generate(key_type: KeyType) -> PrivateKey:
    match key_type:
        case "ec-p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ec-p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa-2048":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _key_pem(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _window(start: float, end: float) -> tuple[datetime, datetime]:
    """From and until, counted in seconds from now. X.509 knows whole seconds: the end is rounded up, so that
    a short life is never a shorter one."""
    now = datetime.now(UTC)
    until = now + timedelta(seconds=end + 1)
    return (now + timedelta(seconds=start)).replace(microsecond=0), until.replace(microsecond=0)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
