"""Whom KubeApi trusts with its token, and how long it waits for a peer that has vanished."""

import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from agent.adapters import http_client
from agent.adapters.kube import calls
from agent.core.reasons import Reason
from agent.ports import Trouble
from agent.sandbox.api.faults import Raw
from agent.sandbox.identity.ca import Authority
from tests.contract import status_worlds
from tests.contract.status_worlds import NAME, WORKLOAD, EmbeddedWorld, server_tls


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[EmbeddedWorld]:
    async with status_worlds.embedded(tmp_path) as world:
        await world.create()
        yield world


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_for_the_token_is_for_this_server(
    world: EmbeddedWorld, code: int
) -> None:
    world.server.faults.add(Raw("", code, {"Location": f"{world.url}{world.workloads}/{NAME}"}))
    with pytest.raises(Trouble) as raised:
        await world.api.read()
    assert raised.value.reason is Reason.API_FAILING
    assert await world.api.read()


async def test_an_intermediate_may_be_the_authority(world: EmbeddedWorld, tmp_path: Path) -> None:
    """As in Go, whose programs read the same file."""
    root, between = Authority("root.example"), Authority("between.example")
    await world.server.stop()
    tls = server_tls(between, ["127.0.0.1"], tmp_path)
    await world.server.start(port=world.server.port, ssl_context=tls)
    (tmp_path / "ca.crt").write_text(signed(root, between))
    assert (await world.api.read()).identity == WORKLOAD.identity


def signed(root: Authority, other: Authority) -> str:
    """PEM of the other one's key and name, by this root."""
    own, now = x509.load_pem_x509_certificate(other.pem.encode()), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(own.subject).issuer_name(root.name)
    builder = builder.public_key(own.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    for extension in own.extensions:
        if not isinstance(extension.value, x509.AuthorityKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key())
    made = builder.add_extension(by, critical=False).sign(root.key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def test_a_peer_that_vanished_is_noticed_within_a_minute() -> None:
    """A watch rests for five; only the kernel's keepalive probes distinguish a quiet peer from a dead one."""
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))
    with http_client.opened(info, calls.KEEPALIVE) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, pause, count = (
            made.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + pause * count <= 60
