"""What `fairlead support` removes from text, and what it leaves."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from agent.core.support import scrub as scrubbing
from agent.core.support import secret_values
from agent.core.support.scrub import REMOVED, scrub

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzcGlmZmU6Ly9hIn0.c2lnbmF0dXJl-_x"
SECRET = "hunter-2"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer {}",
        "> authorization: bearer {}\n",
        '"Authorization": "Basic {}"',
        "(b'authorization', b'Token {}')",
        "headers {{'Proxy-Authorization': 'Digest {}'}}",
        "Cookie: session={}; other={}",
        "X-Api-Key: {}",
        "X-Vault-Token: {}",
        "sent Bearer {} to the server",
        "postgres://app:{}@db.example:5432/app",
        "https://{}@example.org/x",
        "amqp://app:with/a/slash-{}@broker/",
        "redis://:p@{}@host/0",
        "GET /login?user=me&password={}&x=1",
        "https://storage.example/x?sig={}",
        "PGPASSWORD={}",
        "API_TOKEN='{}'",
        'client_secret = "{}"',
        '"password": "with \\" in it {}"',
        '{{"token":"{}"}}',
        "    password: {}",
        "  - passphrase: '{}'",
        "LINKERD2_PROXY_SOME_KEY={}",
        "mysqladmin --password {} ping",
        "mysqladmin --password={} ping",
        'command = ["redis-cli", "--password", "{}"]',
        "curl -u me:{} https://example.org",
        "client-key-data: {}",
    ],
)
def test_a_secret_is_removed(text: str) -> None:
    secret = text.format(*[SECRET] * text.count("{}"))
    assert SECRET in secret
    clean = scrub(f"before\n{secret}\nafter")
    assert SECRET not in clean and REMOVED in clean
    assert clean.startswith("before\n") and clean.endswith("after"), "the lines around it stay"


@pytest.mark.parametrize("text", [JWT, JWT.rpartition(".")[0], f"token {JWT[:30]}…", f"x{JWT}", json.dumps([JWT])])
def test_no_jwt_stays_in_whatever_form(text: str) -> None:
    assert "eyJhbGciOi" not in scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        'token_file = "/etc/fairlead/token"',
        'auth = "token-file"',
        'mode = "token"',
        "cannot read token: permission denied by the server",
        "spiffe://example.org/shop/db-1",
        "https://kubernetes.example:6443/apis/workload.linkerd.io/v1beta1?watch=true&resourceVersion=12",
        "journalctl -u fairlead.service",
        "the AuthorizationPolicy shop/db-1 names no client",
        "tcp 0 0 192.0.2.10:4143 198.51.100.7:51034 uid:990 ino:123",
        'identity_cert_expiration_timestamp_seconds{identity="spiffe://a/b"} 1.7e9',
        'iifname "eth0" tcp dport { 80, 443 } dnat to :4143',
    ],
)
def test_what_is_needed_to_help_stays(text: str) -> None:
    assert scrub(text) == text


_KEYS: dict[str, Any] = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "RSA": rsa.generate_private_key(65537, 2048),
}
_FORMATS = {
    "PKCS8": serialization.PrivateFormat.PKCS8,
    "traditional": serialization.PrivateFormat.TraditionalOpenSSL,
}


def _encoded(kind: str, form: str, encoding: serialization.Encoding) -> bytes:
    if (kind, form) == ("Ed25519", "traditional"):
        form = "PKCS8"
    encoded: bytes = _KEYS[kind].private_bytes(encoding, _FORMATS[form], serialization.NoEncryption())
    return encoded


@pytest.mark.parametrize("form", _FORMATS)
@pytest.mark.parametrize("kind", _KEYS)
def test_no_private_key_stays(kind: str, form: str) -> None:
    pem = _encoded(kind, form, serialization.Encoding.PEM).decode()
    der = _encoded(kind, form, serialization.Encoding.DER)
    inside = [line for line in pem.splitlines() if "-----" not in line]
    journal = [f"2026-01-01T00:00:00 db-1 app[7]: {line}" for line in pem.splitlines()]
    for text in (
        pem,
        json.dumps(pem),
        pem.replace("\n", "\r\n"),
        "\n".join(journal),
        "\n".join(reversed(journal)),
        "\n".join(journal[:-1]),
        "\n".join(journal[1:]),
        f'"{base64.b64encode(pem.encode()).decode()}"',
    ):
        clean = scrub(f"before\n{text}\nafter")
        assert not [line for line in inside if line in clean], clean
        assert clean.startswith("before\n") and clean.endswith("after")
    core = der[36:68]
    for text in (der.hex(), base64.b64encode(der).decode(), repr(der)):
        clean = scrub(text)
        assert core.hex() not in clean and base64.b64encode(der).decode()[48:88] not in clean
        assert repr(core)[2:-1] not in clean


def test_certificates_stay() -> None:
    lines = ["-----BEGIN CERTIFICATE-----", "MIIB" + "A" * 60, "A" * 64, "-----END CERTIFICATE-----"]
    assert scrub("\n".join(lines)) == "\n".join(lines)


def test_given_values_are_removed_wherever_they_are() -> None:
    assert scrub("it said sandbox-token, then ab", {"sandbox-token", "ab", ""}) == f"it said {REMOVED}, then ab"
    assert scrub("longest-first longest", {"longest", "longest-first"}) == f"{REMOVED} {REMOVED}"


def test_the_configuration_keeps_names_and_loses_words_of_commands_and_headers() -> None:
    text = """
[[probe]]
kind = "exec"
command = ["/usr/bin/redis-cli", "-a", "hunter]2",
  'more']
[[probe]]
headers = { Host = "db", X-Other = "hunter}2" } # why
path = "/health"
"""
    clean = scrubbing.configuration(text)
    assert "hunter" not in clean and "more" not in clean and '"db"' not in clean
    assert "/usr/bin/redis-cli" in clean and "X-Other" in clean and '# why\npath = "/health"' in clean


def test_the_secrets_of_a_kubeconfig() -> None:
    users = [
        {"name": "a", "user": {"token": "t", "password": "p", "client-key-data": "k", "username": "u"}},
        {"user": {"exec": {"command": "login", "env": [{"name": "N", "value": "v"}, None]}}},
        {"user": {"auth-provider": {"config": {"refresh": "r"}}}},
        None,
    ]
    assert list(secret_values.of_kubeconfig({"users": users})) == ["t", "p", "k", "v", "r"]
    others: tuple[object, ...] = (None, [], {"users": 7}, {"users": [{"user": []}]})
    for other in others:
        assert not list(secret_values.of_kubeconfig(other))


def test_the_headers_of_probes_are_secrets() -> None:
    tree = {"probe": [{"headers": {"Authorization": "Bearer abc"}}, {}]}
    assert list(secret_values.of_configuration(tree)) == ["Bearer abc", "abc"]


_HOSTILE = {
    "one word": "a" * 300_000,
    "one name": "token" * 60_000,
    "schemes": "://" * 100_000,
    "users": "://a:b" * 50_000,
    "flags": "--- " * 80_000,
    "backslashes": "\\" * 300_000,
    "quotes": '"' * 300_000,
    "JSON": "eyJ" * 100_000,
    "brackets": "[" * 300_000,
    "marks": "-----BEGIN PRIVATE KEY-----\n" * 10_000,
}


@pytest.mark.parametrize("text", _HOSTILE.values(), ids=_HOSTILE)
def test_hostile_text_is_scrubbed_too(text: str) -> None:
    """A rule that is not linear takes minutes on one of them."""
    assert len(scrubbing.configuration(scrub(text))) >= 0
