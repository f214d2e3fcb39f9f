"""What the embedded authority issues, before OpenSSL in its strict mode, by handshakes in memory."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from agent.sandbox.identity.ca import Authority, KeyType, SvidMaterial

DOMAIN = "example.org"
ID = f"spiffe://{DOMAIN}/vm-1"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(DOMAIN)


def identified(context: ssl.SSLContext, folder: Path, certificate: str, key: str) -> ssl.SSLContext:
    file = folder / "identity.pem"
    file.write_text(certificate + key)
    context.load_cert_chain(file)
    return context


def strict(protocol: int, authority: Authority) -> ssl.SSLContext:
    """Trusts this authority alone, demands a certificate, and is as strict as Python is from 3.13 on."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority.pem)
    return context


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = None) -> ssl.SSLObject:
    """The client's end, after both have agreed. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue  # it is the other end's turn
    return ends[0]


def peer_of(authority: Authority, folder: Path, made: SvidMaterial) -> ssl.SSLObject:
    """Mutual TLS between two that both have this SVID."""
    client = identified(strict(ssl.PROTOCOL_TLS_CLIENT, authority), folder, made.cert_pem, made.key_pem)
    server = identified(strict(ssl.PROTOCOL_TLS_SERVER, authority), folder, made.cert_pem, made.key_pem)
    return shake(client, server)


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048"])
def test_an_svid_serves_and_calls(authority: Authority, tmp_path: Path, key_type: KeyType) -> None:
    made = authority.svid(ID, 60, key_type=key_type)
    seen = peer_of(authority, tmp_path, made).getpeercert()
    assert seen is not None
    assert seen["subjectAltName"] == (("URI", ID),)
    assert ssl.cert_time_to_seconds(str(seen["notAfter"])) == made.not_after


@pytest.mark.parametrize(
    ("ttl", "offset", "cause"), [(-60, -120, "has expired"), (120, 60, "not yet valid")], ids=["past", "future"]
)
def test_an_svid_of_another_time_is_refused(
    authority: Authority, tmp_path: Path, ttl: float, offset: float, cause: str
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=cause):
        peer_of(authority, tmp_path, authority.svid(ID, ttl, not_before_offset=offset))


def test_an_svid_of_another_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        peer_of(authority, tmp_path, Authority(DOMAIN).svid(ID, 60))


@pytest.mark.parametrize(
    ("name", "trusted"), [("api.example.org", True), ("127.0.0.1", True), ("::1", True), ("other", False)]
)
def test_a_servers_names(authority: Authority, tmp_path: Path, name: str, trusted: bool) -> None:
    client = strict(ssl.PROTOCOL_TLS_CLIENT, authority)
    client.check_hostname = True
    served = authority.tls_server(["api.example.org", "127.0.0.1", "::1"])
    server = identified(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tmp_path, *served)
    if trusted:
        assert shake(client, server, name).version() == "TLSv1.3"
    else:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            shake(client, server, name)


def test_keys_are_never_printed(authority: Authority) -> None:
    made = authority.svid(ID, 60)
    assert "PRIVATE" not in repr(made)
    assert repr(made.key_pkcs8_der) not in repr(made)


def test_the_root_names_its_trust_domain(authority: Authority) -> None:
    root = x509.load_pem_x509_certificate(authority.pem.encode())
    names = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"spiffe://{DOMAIN}"]
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
