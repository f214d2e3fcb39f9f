"""The checks of the control plane's names and ports, before a real nameserver and real listeners."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.core.doctor.check import Result
from agent.core.doctor.network import IDENTITY
from agent.core.reasons import Reason
from agent.host import serving
from tests.config import test_token
from tests.lab import nameserver
from tests.lab.nameserver import ADDRESS, Nameserver
from tests.offline.doctor.conftest import PATIENCE, examined, patient, set_key
from tests.offline.test_identity_gate import PROXY

POLICY = "linkerd-policy.linkerd.svc.cluster.local"
DESTINATION = "linkerd-dst-headless.linkerd.svc.cluster.local"
IDENTITY_NAME = "linkerd-identity-headless.linkerd.svc.cluster.local"
CHECK = "control-plane-names"


async def names_of(host: Path) -> tuple[Result, str]:
    outcome = (await examined(host, CHECK))[CHECK].outcome
    return outcome.result, outcome.why


async def test_names_pass_by_the_records_that_the_proxy_asks_for_first(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: Path
) -> None:
    nameserver.used(monkeypatch, tmp_path, f"nameserver {ADDRESS}\n")
    async with nameserver.serving(Nameserver({POLICY: "SRV A", DESTINATION: "A"})):
        assert await names_of(host) == (Result.OK, "policy by SRV, destination by A")


async def test_a_name_without_records_fails(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: Path
) -> None:
    nameserver.used(monkeypatch, tmp_path, f"nameserver {ADDRESS}\n")
    async with nameserver.serving(Nameserver({POLICY: "SRV"})):
        result, why = await names_of(host)
    assert result is Result.FAIL and f"{DESTINATION}.: {ADDRESS}: no such name" in why


async def test_a_name_that_only_other_programs_find_fails(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: Path
) -> None:
    """`localhost` is in this machine's hosts file, and not in the one that the proxy would read here."""
    nameserver.used(monkeypatch, tmp_path, f"nameserver {ADDRESS}\n", "")
    set_key(host, "cluster_domain", '"cluster.local"\npolicy = "localhost:8090"')
    async with nameserver.serving(Nameserver({DESTINATION: "A"})):
        result, why = await names_of(host)
    assert result is Result.FAIL and "other programs find it by nsswitch.conf" in why


# token mode: the identity controller ---------------------------------------------------------------


@pytest.fixture
def by_token(host: Path) -> Path:
    text = test_token.text().replace("/etc/fairlead/trust-anchors.pem", str(host / "anchors.pem"))
    text = text.replace('user = "fairlead-proxy"', f"user = {PROXY}")
    (host / "etc/fairlead/fairlead.toml").write_text(text)
    return host


async def test_in_token_mode_the_identity_controller_has_a_name_too(
    root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by_token: Path
) -> None:
    nameserver.used(monkeypatch, tmp_path, f"nameserver {ADDRESS}\n")
    known = {POLICY: "A", DESTINATION: "A"}
    async with nameserver.serving(Nameserver(known)):
        result, why = await names_of(by_token)
    assert result is Result.FAIL and "the proxy gets no certificate" in why and IDENTITY_NAME in why
    async with nameserver.serving(Nameserver({**known, IDENTITY_NAME: "SRV"})):
        assert await names_of(by_token) == (Result.OK, f"policy by A, destination by A, {IDENTITY} by SRV")


@asynccontextmanager
async def accepting() -> AsyncIterator[str]:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving.closing(await asyncio.start_server(close, "127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_in_token_mode_port_8080_must_answer(root: None, by_token: Path) -> None:
    async with accepting() as gone:
        pass
    async with patient(by_token), accepting() as there:
        places = f'policy = "{there}"\ndestination = "{there}"\n'
        set_key(by_token, "cluster_networks", f'["127.0.0.0/8"]\n{places}identity = "{gone}"')
        found = await examined(by_token, "control-plane", each=PATIENCE)
        outcome = found["control-plane"].outcome
        assert outcome.result is Result.FAIL and Reason.CONTROL_PLANE_UNREACHABLE in outcome.why, found
        assert "no certificate" in outcome.why and gone in outcome.why and "TCP 8080" in outcome.fix
        set_key(by_token, "identity", f'"{there}"')
        assert (await examined(by_token, "control-plane"))["control-plane"].outcome.result is Result.OK
