"""A host below a prefix, with an embedded Workload API and API server."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.core.doctor.check import Finding
from agent.offline.doctor import main
from agent.sandbox.api.server import ApiServer
from agent.sandbox.identity.ca import Authority
from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer
from tests.offline import test_identity_gate
from tests.offline.test_identity_gate import DOMAIN, ID, PROXY

AGENT = 0  # there is no user fairlead here
PATIENCE = 60.0  # seconds for one check
gate_host = test_identity_gate.host


@dataclass
class Patient:
    """A host whose Workload API serves."""

    prefix: Path
    authority: Authority
    workload_api: WorkloadApiServer

    async def examined(self, *names: str, each: float = PATIENCE) -> dict[str, Finding]:
        return await examined(self.prefix, *names, each=each)


async def examined(prefix: Path, *names: str, each: float = PATIENCE) -> dict[str, Finding]:
    found = await main.examined(str(prefix), main.Wanted(names, each))
    return {one.check.name: one for one in found}


@pytest.fixture
def host(gate_host: Path) -> Iterator[Path]:
    """Its API server is at a port without a listener."""
    edit(gate_host, 'server = "https://', 'server = "https://127.0.0.1:1" # ')
    yield gate_host


def edit(host: Path, start: str, new: str) -> None:
    """The one line that begins so gets another beginning."""
    path = host / "etc/fairlead/fairlead.toml"
    lines = path.read_text().splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith(start)]
    lines[at] = new + lines[at].removeprefix(start)
    path.write_text("\n".join(lines) + "\n")


def set_key(host: Path, key: str, value: str) -> None:
    """The line `key = …`, which is there once."""
    path = host / "etc/fairlead/fairlead.toml"
    lines = path.read_text().splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith(f"{key} = ")]
    lines[at] = f"{key} = {value}"
    path.write_text("\n".join(lines) + "\n")


def by_token(host: Path) -> None:
    """The API server knows the host by a token in a file."""
    (host / "token").write_text("token")
    set_key(host, "auth", f'"token-file"\ntoken_file = "{host / "token"}"')
    set_key(host, "audience", '""')
    path = host / "etc/fairlead/fairlead.toml"
    path.write_text(path.read_text().replace('audience = ""\n', ""))


@asynccontextmanager
async def patient(
    host: Path, *, agent: tuple[Entry, ...] = (Entry(ID),), proxy: tuple[Entry, ...] = (Entry(ID),)
) -> AsyncIterator[Patient]:
    authority = Authority(DOMAIN)
    (host / "anchors.pem").write_text(authority.pem)
    entries = {AGENT: agent, PROXY: proxy}
    async with WorkloadApiServer(host / "agent.sock", authority, entries) as server:
        yield Patient(host, authority, server)


@asynccontextmanager
async def api_server(patient: Patient) -> AsyncIterator[ApiServer]:
    certificate, key = patient.authority.tls_server(["127.0.0.1"])
    pem = patient.prefix / "api.pem"
    pem.write_text(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = ApiServer({"token": "host-db-1"})
    await server.start("127.0.0.1", ssl_context=context)
    (patient.prefix / "api-ca.pem").write_text(patient.authority.pem)
    set_key(patient.prefix, "server", f'"{server.url}"')
    set_key(patient.prefix, "ca", f'"{patient.prefix / "api-ca.pem"}"')
    try:
        yield server
    finally:
        await server.stop()
