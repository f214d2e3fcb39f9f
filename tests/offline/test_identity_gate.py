"""The gate as a program, before the embedded Workload API."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.adapters import identity_key, identity_token
from agent.core import gate_record
from agent.core.reasons import Fault, Reason
from agent.host import Host
from agent.sandbox.identity.ca import Authority
from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer
from tests.config import test_token
from tests.lab import identity_tokens

ROOT = Path(__file__).parents[2]
DOMAIN = "root.linkerd.cluster.local"
ID = f"spiffe://{DOMAIN}/db-1"
PROXY = 2102


@pytest.fixture
def host() -> Iterator[Path]:
    """A prefix with root's configuration, where every user may look."""
    prefix = Path(tempfile.mkdtemp(prefix="fairlead-gate-"))
    prefix.chmod(0o755)
    text = (ROOT / "config/fairlead.toml").read_text()
    for old, new in (
        ("/run/spire/agent/public/api.sock", str(prefix / "agent.sock")),
        ("/etc/fairlead/trust-anchors.pem", str(prefix / "anchors.pem")),
        ('user = "fairlead-proxy"', f"user = {PROXY}"),
    ):
        assert old in text
        text = text.replace(old, new)
    (prefix / "etc/fairlead").mkdir(parents=True)
    (prefix / "etc/fairlead/fairlead.toml").write_text(text)
    (prefix / "run/fairlead-proxy").mkdir(parents=True)
    os.chown(prefix / "run/fairlead-proxy", PROXY, PROXY)
    yield prefix
    shutil.rmtree(prefix)


@asynccontextmanager
async def served(
    host: Path, *entries: Entry, trusted: Authority | None = None
) -> AsyncIterator[WorkloadApiServer]:
    authority = Authority(DOMAIN)
    (host / "anchors.pem").write_text((trusted or authority).pem)
    async with WorkloadApiServer(host / "agent.sock", authority, {PROXY: entries}) as server:
        yield server


# The interpreter of a test may lie where the proxy's user may not look, so it becomes that user when it is loaded.
BECOME = """\
import encodings.utf_8_sig, os, shutil, sys
import agent.offline.gate
from agent.proxyunit import gate
from agent.cli import main
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
sys.exit((gate.main if sys.argv[1] == "--prefix" else main.main)(sys.argv[1:]))
"""
BY_HAND = "identity-gate"


@asynccontextmanager
async def running(host: Path, *options: str, uid: int = PROXY) -> AsyncIterator[asyncio.subprocess.Process]:
    """The unit's gate, or with BY_HAND as first option the command."""
    words = ["--prefix", str(host)]
    if options[:1] == (BY_HAND,):
        words, options = [BY_HAND, *words], options[1:]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BECOME.format(uid=uid)),
        *words,
        *options,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def outcome(host: Path, *options: str, uid: int = PROXY) -> tuple[int | None, str]:
    """Of one look."""
    async with running(host, *(options or ("--within", "0")), uid=uid) as process:
        assert process.stdout is not None
        said = (await process.stdout.read()).decode()
        await process.wait()
        return process.returncode, said


def record(host: Path) -> Fault | None:
    path = Host(host).gate
    return gate_record.read(path.read_text()) if path.exists() else None


async def test_the_units_gate_opens_and_its_record_goes(root: None, host: Path) -> None:
    (Host(host).gate).write_text("{}")  # what an earlier run left
    os.chown(Host(host).gate, PROXY, PROXY)
    async with served(host, Entry(ID)):
        assert await outcome(host) == (0, f"usable: {ID}\n")
    assert not (Host(host).gate).exists()


async def test_an_entry_for_the_agents_user_alone_is_told_to_the_agent(root: None, host: Path) -> None:
    async with served(host) as server:
        server.register(0, Entry(ID))
        code, said = await outcome(host)
        assert (code, said) == (69, "WorkloadApiDenied: PERMISSION_DENIED: no identity issued\n")
        assert record(host) == Fault(Reason.WORKLOAD_API_DENIED, "PERMISSION_DENIED: no identity issued")
        assert (await outcome(host, uid=0))[0] == 0, "root may get it, and that is no record"
        assert record(host) is not None


@pytest.mark.parametrize(
    ("entry", "foreign", "reason"),
    [
        (Entry(f"{ID}-other"), False, Reason.IDENTITY_UNEXPECTED),
        (Entry(ID, key_type="rsa-2048"), False, Reason.IDENTITY_KEY_UNSUITABLE),
        (Entry(f"spiffe://{DOMAIN}/{'x' * 230}"), False, Reason.IDENTITY_TOO_LONG),
        (Entry(ID), True, Reason.IDENTITY_UNTRUSTED),
    ],
)
async def test_each_wrong_identity_has_its_own_reason(
    root: None, host: Path, entry: Entry, foreign: bool, reason: Reason
) -> None:
    async with served(host, entry, trusted=Authority(DOMAIN) if foreign else None):
        code, said = await outcome(host, BY_HAND, "--json")
        assert code == 69 and json.loads(said)["reason"] == reason.value
        assert record(host) is None, "asking by hand writes nothing"
        code, said = await outcome(host)
    assert code == 69 and said.startswith(f"{reason.value}: ")
    found = record(host)
    assert found is not None and found.reason is reason


async def test_it_waits_and_says_each_reason_once(root: None, host: Path) -> None:
    async with running(host, "--within", "inf") as process:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert (await process.stdout.readline()).startswith(b"WorkloadApiAbsent: ")
            async with served(host) as server:
                assert (await process.stdout.readline()).startswith(b"WorkloadApiDenied: ")
                server.register(PROXY, Entry(f"{ID}-other"))
                assert (await process.stdout.readline()).startswith(b"IdentityUnexpected: ")
                server.register(PROXY, Entry(ID))
                assert await process.stdout.read() == f"usable: {ID}\n".encode()
                assert await process.wait() == 0
    assert record(host) is None


ANCHORS: dict[str, tuple[str | None, Reason]] = {
    "missing": (None, Reason.TRUST_ANCHORS_UNUSABLE),
    "damaged": ("garbage", Reason.TRUST_ANCHORS_UNUSABLE),
    "others": (Authority(DOMAIN).pem, Reason.IDENTITY_UNTRUSTED),
}


@pytest.mark.parametrize("wrong", ANCHORS)
async def test_anchors_that_are_corrected_count_without_an_update_of_the_workload_api(
    root: None, host: Path, wrong: str
) -> None:
    """Its next update may be half an hour away."""
    text, reason = ANCHORS[wrong]
    async with served(host, Entry(ID)):
        right = (host / "anchors.pem").read_text()
        (host / "anchors.pem").unlink() if text is None else (host / "anchors.pem").write_text(text)
        async with running(host, "--within", "inf") as process, asyncio.timeout(60):
            assert process.stdout is not None
            assert (await process.stdout.readline()).startswith(f"{reason}: ".encode())
            found = record(host)
            assert found is not None and found.reason is reason
            (host / "anchors.pem").write_text(right)
            assert await process.stdout.read() == f"usable: {ID}\n".encode()
    assert record(host) is None


async def test_a_configuration_that_is_corrected_counts_too(root: None, host: Path) -> None:
    path = host / "etc/fairlead/fairlead.toml"
    right = path.read_text()
    path.write_text(right.replace(str(host / "anchors.pem"), str(host / "another.pem")))
    async with served(host, Entry(ID)), running(host, "--within", "inf") as process:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert (await process.stdout.readline()).startswith(b"TrustAnchorsUnusable: ")
            path.write_text("[half")  # as an editor may leave it briefly
            path.write_text(right)
            assert await process.stdout.read() == f"usable: {ID}\n".encode()


async def test_asking_by_hand_leaves_the_record_of_the_gate_that_waits(root: None, host: Path) -> None:
    async with served(host, Entry(f"{ID}-other")):
        await outcome(host)
        before = record(host)
        assert before is not None and before.reason is Reason.IDENTITY_UNEXPECTED
    async with served(host, Entry(ID)):
        assert (await outcome(host, BY_HAND))[0] == 0
    assert record(host) == before


async def test_a_configuration_that_is_not_roots_opens_nothing(root: None, host: Path) -> None:
    os.chown(host / "etc/fairlead/fairlead.toml", PROXY, PROXY)
    code, said = await outcome(host)
    assert code == 64 and "not to root" in said


async def test_socket_and_id_by_hand(root: None, host: Path) -> None:
    async with served(host, Entry(ID)):
        assert await outcome(host, BY_HAND, str(host / "agent.sock"), ID) == (0, f"usable: {ID}\n")
        code, _ = await outcome(host, BY_HAND, str(host / "agent.sock"))
        assert code == 2


# token mode


@pytest.fixture
def by_token(host: Path) -> Path:
    """The same host, in token mode."""
    (host / "etc/fairlead/fairlead.toml").write_text(
        test_token.text()
        .replace('user = "fairlead-proxy"', f"user = {PROXY}")
        .replace("/etc/fairlead/trust-anchors.pem", str(host / "anchors.pem"))
    )
    (host / "anchors.pem").write_text(Authority(DOMAIN).pem)
    identity_token.furnish(host / "run/fairlead-token", 0o2750, (0, PROXY))
    return host


def give(host: Path, text: str) -> None:
    path = host / "run/fairlead-token/token"
    path.write_text(text)
    path.chmod(0o640)


async def test_with_a_token_the_proxys_user_makes_its_key_anew_each_time(root: None, by_token: Path) -> None:
    give(by_token, identity_tokens.token(0, time.time() + 600))
    folder, seen = by_token / "run/fairlead-proxy/identity", set()
    for _ in range(2):
        assert await outcome(by_token) == (0, f"usable: {identity_tokens.NAME}\n")
        key = serialization.load_der_private_key((folder / "key.p8").read_bytes(), None)
        asked = x509.load_der_x509_csr((folder / "csr.der").read_bytes())
        assert asked.is_signature_valid and asked.public_key() == key.public_key()
        assert isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1"
        names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [x509.DNSName(identity_tokens.NAME)]
        common = asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert [name.value for name in common] == [identity_tokens.NAME]
        for path in (folder / "key.p8", folder, folder / "csr.der"):
            assert (path.stat().st_uid, path.stat().st_mode & 0o077) == (PROXY, 0), path
        seen.add((folder / "key.p8").read_bytes())
    assert len(seen) == 2
    assert record(by_token) is None


async def test_a_token_that_is_missing_or_another_accounts_closes_it(root: None, by_token: Path) -> None:
    other = identity_tokens.token(0, time.time() + 600, sub="system:serviceaccount:shop:other")
    for text, reason in ((None, Reason.IDENTITY_TOKEN_UNREADABLE), (other, Reason.IDENTITY_TOKEN_UNSUITABLE)):
        if text is not None:
            give(by_token, text)
        code, said = await outcome(by_token)
        assert code == 69 and said.startswith(reason.value) and "eyJ" not in said
        found = record(by_token)
        assert found is not None and found.reason is reason
    assert not (by_token / "run/fairlead-proxy/identity").exists(), "no key is made for nothing"


async def test_a_folder_that_is_not_the_proxys_is_told(root: None, by_token: Path) -> None:
    give(by_token, identity_tokens.token(0, time.time() + 600))
    (by_token / "run/fairlead-proxy/identity").mkdir()
    code, said = await outcome(by_token)
    assert (code, said.split(":")[0]) == (69, Reason.PROXY_FAILED_TO_START.value)


async def test_another_user_or_asking_by_hand_makes_no_key(root: None, by_token: Path) -> None:
    give(by_token, identity_tokens.token(0, time.time() + 600))
    assert (await outcome(by_token, uid=0))[0] == 0
    assert (await outcome(by_token, BY_HAND))[0] == 0
    assert not (by_token / "run/fairlead-proxy/identity").exists()


def test_a_name_too_long_for_a_common_name_stands_as_dns_name_alone(tmp_path: Path) -> None:
    name = ".".join(["label" * 8] * 4)
    identity_key.make(tmp_path, name)
    asked = x509.load_der_x509_csr((tmp_path / "csr.der").read_bytes())
    assert not list(asked.subject)
    names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName(name)]
