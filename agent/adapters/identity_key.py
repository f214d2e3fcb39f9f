"""The proxy's key and its request for a certificate (CSR) in token mode, as Linkerd's identity controller asks.

Created by the proxy's user, in its runtime directory in memory: the key is not written to a disk.
"""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.adapters import files
from agent.core.reasons import Reason
from agent.ports import Trouble

KEY, REQUEST = "key.p8", "csr.der"


def make(folder: Path, name: str) -> None:
    """Key and CSR for `name` (docs/linkerd.md §4: EC P-256, PKCS #8 and CSR in DER; one DNS name). Raises Trouble
    (PROXY_FAILED_TO_START)."""
    key = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    pkcs8 = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, plain)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        files.write_atomically(folder / KEY, pkcs8, 0o600)
        files.write_atomically(folder / REQUEST, _request(key, name), 0o600)
    except OSError as error:
        detail = f"cannot make its key in {folder}: {error.strerror}"
        raise Trouble(Reason.PROXY_FAILED_TO_START, detail) from error


def _request(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    # X.509 has 64 characters for a common name; the controller takes an empty one, and reads the DNS name.
    common = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if len(name) <= 64 else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(common))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
