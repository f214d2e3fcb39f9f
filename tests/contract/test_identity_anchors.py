"""Trust anchors on a host: the files, and which SVIDs a set of anchors covers, on certificates as they are."""

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.adapters.anchors import HostAnchors, Places, in_force
from agent.adapters.x509_chains import covered_until
from agent.core import anchors
from agent.core.reasons import Reason
from agent.ports import Certificates, Trouble
from agent.sandbox.identity.ca import Authority

DOMAIN = "example.org"
ID = f"spiffe://{DOMAIN}/vm-1"
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)


class Issuer:
    """A certificate with its key, that signs others."""

    def __init__(self, name: str, by: "Issuer | None" = None, days: float = 10) -> None:
        self.key, self.name = ec.generate_private_key(ec.SECP256R1()), _name(name)
        signer = by or self
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=20))
            .not_valid_after(NOW + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer.key, hashes.SHA256())
        )
        self.der = self.certificate.public_bytes(Encoding.DER)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


ROOT, OTHER = Issuer("root"), Issuer("other")
MIDDLE = Issuer("middle", ROOT)
LOWER = Issuer("lower", MIDDLE)
LEAF = Issuer("leaf", LOWER)
CROSS = Issuer("cross", ROOT, days=30)
FORGED = Issuer("root")  # the same name and another key


@pytest.mark.parametrize(
    ("roots", "chain", "covered"),
    [
        ([ROOT], [LEAF, LOWER, MIDDLE], True),
        ([ROOT], [LEAF, MIDDLE, LOWER], True),  # in any order
        ([ROOT], [LEAF, OTHER, LOWER, MIDDLE], True),  # and with one that is of no use
        ([ROOT], [LEAF, LOWER, MIDDLE, ROOT], True),  # and with the anchor itself
        ([MIDDLE], [LEAF, LOWER], True),  # an intermediate may be the anchor
        ([OTHER, ROOT], [MIDDLE], True),
        ([ROOT], [LEAF, LOWER], False),  # a link is missing
        ([OTHER], [LEAF, LOWER, MIDDLE], False),
        ([FORGED], [MIDDLE], False),
        ([ROOT], [LEAF], False),
    ],
)
def test_which_chains_are_covered(roots: list[Issuer], chain: list[Issuer], covered: bool) -> None:
    found = covered_until(tuple(r.der for r in roots), tuple(c.der for c in chain))
    assert found == ((NOW + datetime.timedelta(days=10)).timestamp() if covered else None)


def test_without_a_chain_the_last_end_counts() -> None:
    assert covered_until((ROOT.der, CROSS.der), ()) == (NOW + datetime.timedelta(days=30)).timestamp()


def test_an_anchor_that_has_run_out_covers_as_it_does_for_the_proxy() -> None:
    old = Issuer("old", days=-1)
    assert covered_until((old.der,), (Issuer("leaf", old).der,)) == (NOW - datetime.timedelta(days=1)).timestamp()


def test_the_embedded_authoritys_svids_are_covered_by_it_alone() -> None:
    authority = Authority(DOMAIN)
    chain = (authority.svid(ID, 60).cert_chain_der,)
    assert covered_until((authority.der,), chain) is not None
    assert covered_until((Authority(DOMAIN).der,), chain) is None


# files ----------------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places((tmp_path / "accepted.pem", tmp_path / "configured.pem"), tmp_path / "agent/kept.pem")


def test_the_first_file_that_exists_is_in_force(places: Places) -> None:
    accepted, configured = places.in_force
    configured.write_text(f"# the mesh's root\n{anchors.pem([ROOT.der])}")
    assert in_force(places) == (ROOT.der,)
    accepted.write_text(anchors.pem([OTHER.der, ROOT.der]))
    assert set(in_force(places)) == {OTHER.der, ROOT.der}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (None, "No such file or directory"),
        ("", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n", "cannot use"),
        ("-----BEGIN CERTIFICATE-----\nb\n-----END CERTIFICATE-----\n", "not base64"),
    ],
)
def test_a_file_that_is_of_no_use_is_named_with_its_cause(places: Places, text: str | None, cause: str) -> None:
    if text is not None:
        places.in_force[-1].write_text(text)
    with pytest.raises(Trouble, match=cause) as caught:
        in_force(places)
    assert caught.value.reason is Reason.TRUST_ANCHORS_UNUSABLE
    assert str(places.in_force[-1]) in caught.value.detail


async def test_what_is_kept_is_read_back(places: Places) -> None:
    found: Certificates = tuple(sorted((ROOT.der, OTHER.der)))
    await HostAnchors(places).keep(found)
    assert anchors.certificates(places.kept.read_text()) == found
    assert places.kept.stat().st_mode & 0o777 == 0o644


async def test_what_cannot_be_kept_is_trouble(places: Places) -> None:
    places.kept.parent.write_text("no directory")
    with pytest.raises(Trouble) as caught:
        await HostAnchors(places).keep((ROOT.der,))
    assert caught.value.reason is Reason.TRUST_ANCHORS_UNWRITABLE


async def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(Trouble):
        await HostAnchors(Places((), tmp_path / "kept")).keep((b"x",))
    assert names(tmp_path) == ["kept"]


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_each_source_offers_its_own(places: Places) -> None:
    async def fetch() -> str:
        return anchors.pem([OTHER.der])

    assert await HostAnchors(places).offered((ROOT.der,)) is None
    assert await HostAnchors(places, bundled=True).offered((ROOT.der,)) == (ROOT.der,)
    assert await HostAnchors(places, bundled=True).offered(()) is None
    assert await HostAnchors(places, fetch).offered((ROOT.der,)) == (OTHER.der,)


async def test_garbage_from_the_cluster_is_trouble(places: Places) -> None:
    async def fetch() -> str:
        return "garbage"

    with pytest.raises(Trouble, match="the cluster's ConfigMap"):
        await HostAnchors(places, fetch).offered(())
