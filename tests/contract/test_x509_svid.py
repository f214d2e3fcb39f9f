"""What an X.509-SVID is: the `spiffe` package judges the same certificates, and protobuf's compiler the
messages."""

import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st
from spiffe import X509Svid
from spiffe._proto import workload_pb2
from spiffe.bundle.x509_bundle.x509_bundle import X509Bundle
from spiffe.errors import PySpiffeError
from spiffe.spiffe_id.spiffe_id import TrustDomain

from agent.adapters.workload_api import messages, x509_svid
from agent.adapters.workload_api.x509_svid import Malformed
from agent.sandbox.identity.ca import Authority

DOMAIN = "example.org"
ID = f"spiffe://{DOMAIN}/vm-1"
AUTHORITY = Authority(DOMAIN)
KEY = ec.generate_private_key(ec.SECP256R1())
Builder = x509.CertificateBuilder
USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in USAGES})


def ca(yes: bool) -> x509.BasicConstraints:
    return x509.BasicConstraints(ca=yes, path_length=None)


def uris(*names: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name) for name in names])


def made(*extensions: x509.ExtensionType, key: Any = KEY) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    builder = Builder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def pkcs8(key: Any = KEY) -> bytes:
    return bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


SIGNS, LEAF = usage("digital_signature"), (ca(False), usage("digital_signature"), uris(ID))
GOOD, ISSUER = made(*LEAF), made(ca(True), usage("key_cert_sign"))


def of_spiffe(chain: bytes, key: bytes) -> tuple[str, tuple[bytes, ...]] | None:
    try:
        found = X509Svid.parse_raw(chain, key)
    except (PySpiffeError, ValueError):
        return None
    return str(found.spiffe_id), tuple(one.public_bytes(Encoding.DER) for one in found.cert_chain)


def ours(chain: bytes, key: bytes) -> tuple[str, tuple[bytes, ...]] | None:
    try:
        found = x509_svid.describe(chain, key)
    except Malformed:
        return None
    return found.spiffe_id, found.chain


EXTENSIONS = [
    LEAF,
    (SIGNS, uris(ID)),
    (ca(True), SIGNS, uris(ID)),
    (ca(False), uris(ID)),
    (ca(False), usage("key_agreement"), uris(ID)),
    (ca(False), usage("digital_signature", "key_cert_sign"), uris(ID)),
    (ca(False), usage("digital_signature", "crl_sign"), uris(ID)),
    (ca(False), SIGNS),
    (ca(False), SIGNS, x509.SubjectAlternativeName([x509.DNSName("vm-1")])),
    (ca(False), SIGNS, x509.SubjectAlternativeName([x509.DNSName("a"), x509.UniformResourceIdentifier(ID)])),
    (ca(False), SIGNS, uris(ID, f"spiffe://{DOMAIN}/second")),
    (ca(False), SIGNS, uris(f"spiffe://{DOMAIN}")),
    (ca(False), SIGNS, uris("https://example.org/vm-1")),
    (ca(False), SIGNS, uris(f"spiffe://{DOMAIN}/a//b")),
    (ca(False), SIGNS, uris(f"spiffe://{DOMAIN}/a?b")),
]


@pytest.mark.parametrize("extensions", EXTENSIONS, ids=map(str, range(len(EXTENSIONS))))
def test_a_leaf_is_judged_as_the_spiffe_package_does(extensions: tuple[x509.ExtensionType, ...]) -> None:
    leaf = made(*extensions)
    assert ours(leaf, pkcs8()) == of_spiffe(leaf, pkcs8())
    assert (ours(leaf, pkcs8()) is not None) is (extensions in (LEAF, EXTENSIONS[9]))


ISSUERS = {
    "signs": (ISSUER, True),
    "none of it": (made(), False),
    "no authority": (made(ca(False), usage("key_cert_sign")), False),
    "no usage": (made(ca(True)), False),
    "another usage": (made(ca(True), usage("crl_sign")), False),
    "cut off": (ISSUER[:-1], False),
    "no certificate": (b"\x30\x03\x02\x01\x01", False),
}


@pytest.mark.parametrize("name", ISSUERS)
def test_a_chain_is_judged_as_the_spiffe_package_does(name: str) -> None:
    issuer, good = ISSUERS[name]
    chain = GOOD + ISSUER + issuer
    assert ours(chain, pkcs8()) == of_spiffe(chain, pkcs8())
    assert (ours(chain, pkcs8()) == (ID, (GOOD, ISSUER, issuer))) is good


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "EC P-256"),
        (ec.generate_private_key(ec.SECP521R1()), "EC P-521"),
        (ec.generate_private_key(ec.BrainpoolP256R1()), "EC brainpoolP256r1"),
        (rsa.generate_private_key(65537, 2048), "RSA 2048"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (dsa.generate_private_key(1024), "DSAPublicKey"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_is_named_and_belongs_to_its_certificate(key: Any, kind: str) -> None:
    found = x509_svid.describe(made(*LEAF, key=key), pkcs8(key))
    assert (found.key_type.removeprefix("OpenSSL"), found.key_fits) == (kind, True)
    assert x509_svid.describe(GOOD, pkcs8(key)).key_fits is False


@pytest.mark.parametrize("key", [b"", b"no key", pkcs8()[:-1], GOOD])
def test_a_key_that_cannot_be_read_is_named_and_never_shown(key: bytes) -> None:
    with pytest.raises(Malformed, match=r"^its key cannot be read$") as caught:
        x509_svid.describe(GOOD, key)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert of_spiffe(GOOD, key) is None


def test_a_key_under_a_password_cannot_be_read() -> None:
    locked = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(Malformed, match="its key"):
        x509_svid.describe(GOOD, locked)


def twice(der: bytes) -> bytes:
    """The certificate with its second extension under the first's name; both are of the same length."""
    basic, used = b"\x55\x1d\x13", b"\x55\x1d\x0f"
    assert der.count(basic) == der.count(used) == 1
    return der.replace(used, basic)


ODD: dict[str, Callable[[], bytes]] = {
    "an extension twice": lambda: twice(GOOD),
    "a version that there is not": lambda: GOOD.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1),
    "an odd name": lambda: GOOD.replace(b"\x86" + bytes([len(ID)]), b"\x83" + bytes([len(ID)]), 1),
    "an odd curve": lambda: GOOD.replace(b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x2a\x86\x48\xce\x3d\x03\x01\x7f"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_certificate_that_is_odd_within_is_malformed_and_no_more(name: str) -> None:
    der = ODD[name]()
    assert der != GOOD
    with pytest.raises(Malformed):
        x509_svid.describe(der, pkcs8())


@given(st.data())
def test_svid_bytes_of_any_kind_are_an_svid_or_malformed(data: st.DataObject) -> None:
    whole = GOOD + ISSUER
    at = data.draw(st.integers(0, len(whole) - 1))
    broken = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + data.draw(st.integers(0, 4)) :]
    assert (ours(broken, pkcs8()) is None) or of_spiffe(broken, pkcs8()) is not None


# bundles ----------------------------------------------------------------------------------------------

SECOND = Authority(DOMAIN).der
BUNDLES = {
    "one": AUTHORITY.der,
    "two": AUTHORITY.der + SECOND,
    "the same twice": AUTHORITY.der * 2,
    "none": b"",
    "cut off": AUTHORITY.der + SECOND[:-1],
    "something after it": AUTHORITY.der + b"\x00",
    "without an end": b"\x30\x80" + AUTHORITY.der + b"\x00\x00",
    "a length that has no bytes": b"\x30\x84\x01",
}


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_is_read_as_the_spiffe_package_does(name: str) -> None:
    try:
        judged = X509Bundle.parse_raw(TrustDomain(DOMAIN), BUNDLES[name]).x509_authorities
    except PySpiffeError:
        judged = set()
    expected = tuple(sorted(one.public_bytes(Encoding.DER) for one in judged))
    assert x509_svid.authorities(BUNDLES[name]) == expected


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=5))
def test_values_are_cut_apart_at_their_lengths(contents: list[bytes]) -> None:
    values = [b"\x30" + _length(len(one)) + one for one in contents]
    assert list(x509_svid.certificates(b"".join(values))) == values


def _length(size: int) -> bytes:
    raw = size.to_bytes((size.bit_length() + 7) // 8 or 1, "big")
    return raw if size < 0x80 else bytes([0x80 + len(raw)]) + raw


# messages ---------------------------------------------------------------------------------------------


def test_the_compiled_messages_are_those_of_the_docstring() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="workload.proto", syntax="proto3")
    kinds = {"string": 9, "bytes": 12}
    assert messages.__doc__
    for name, body in re.findall(r"message (\w+) \{(.*?)\}", messages.__doc__, re.DOTALL):
        made = file.message_type.add(name=name)
        for repeated, kind, field, number in re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", body):
            label, type_name = 3 if repeated else 1, "" if kind in kinds else f".{kind}"
            added = made.field.add(name=field, number=int(number), label=label, type=kinds.get(kind, 11))
            if type_name:
                added.type_name = type_name
    assert file.SerializeToString(deterministic=True) == messages.COMPILED


def test_the_messages_are_the_standards() -> None:
    """The `spiffe` package has the output of protoc for the standard's own file."""
    svids = [workload_pb2.X509SVID(spiffe_id=name, x509_svid=b"a", bundle=b"b", hint="h") for name in "xy"]
    answer = workload_pb2.X509SVIDResponse(svids=svids, crl=[b"c"], federated_bundles={"far": b"d"})
    read = messages.x509_svids(answer.SerializeToString())
    fields = ("spiffe_id", "x509_svid", "x509_svid_key", "bundle", "hint")
    for field, (mine, theirs) in itertools.product(fields, zip(read, svids, strict=True)):
        assert getattr(mine, field) == getattr(theirs, field)
    asked = workload_pb2.JWTSVIDRequest.FromString(messages.jwt_request("kubernetes", ID))
    assert (list(asked.audience), asked.spiffe_id) == (["kubernetes"], ID)
    given_ = workload_pb2.JWTSVIDResponse(svids=[workload_pb2.JWTSVID(svid="a.b.c")])
    assert [one.svid for one in messages.jwt_svids(given_.SerializeToString())] == ["a.b.c"]


@given(st.binary(max_size=60))
def test_an_answer_is_messages_or_an_error(data: bytes) -> None:
    for read in (messages.x509_svids, messages.jwt_svids):
        try:
            read(data)
        except ValueError:
            continue
