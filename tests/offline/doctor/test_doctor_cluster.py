"""The checks of API server, network and application, each with a real passing and a real failing situation."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.adapters import long_hello, spawn
from agent.core.doctor.check import Finding, Result
from agent.core.reasons import Reason
from agent.sandbox.api.server import EXTERNAL_WORKLOADS, REVIEWS, ApiServer
from agent.sandbox.stage.scene import external_workload, lease
from tests.offline.doctor.conftest import PATIENCE, Patient, api_server, by_token, examined, patient, set_key

API = ("api-server", "api-credential", "api-rights", "workload", "lease")


def ready_for_api(one: Patient, server: ApiServer) -> None:
    """The objects of this host, by the words of its configuration."""
    host = one.prefix
    by_token(host)
    workload = external_workload("db-1", ["192.0.2.10"], 5432)
    server.create(workload)
    server.create(lease("db-1"))


def failed(found: dict[str, Finding]) -> list[str]:
    return [name for name, one in found.items() if one.outcome.result is Result.FAIL]


async def test_a_right_that_is_missing_is_named(root: None, host: Path) -> None:
    async with patient(host) as one, api_server(one) as server:
        ready_for_api(one, server)
        found = await one.examined(*API)
        assert found["api-rights"].outcome.result is Result.OK, found["api-rights"]
        server.allow = lambda ask: ask.resource != "externalworkloads/status"
        found = await one.examined(*API)
        assert failed(found) == ["api-rights"]
        assert "patch of externalworkloads/status" in found["api-rights"].outcome.why
        assert found["workload"].behind == "api-rights"


async def test_a_credential_that_the_server_does_not_know_is_told_apart(root: None, host: Path) -> None:
    async with patient(host) as one, api_server(one) as server:
        ready_for_api(one, server)
        (host / "token").write_text("another")
        found = await one.examined(*API)
        assert found["api-server"].outcome.result is Result.OK
        assert (
            failed(found) == ["api-credential"] and Reason.API_UNAUTHORIZED in found["api-credential"].outcome.why
        )


async def test_a_server_without_a_listener_is_named(root: None, host: Path) -> None:
    async with patient(host) as one:
        set_key(host, "ca", f'"{host / "anchors.pem"}"')
        by_token(host)
        found = await one.examined(*API)
        assert failed(found) == ["api-server"], found
        assert Reason.API_UNREACHABLE in found["api-server"].outcome.why


async def test_an_external_workload_of_another_host_is_named(root: None, host: Path) -> None:
    async with patient(host) as one, api_server(one) as server:
        ready_for_api(one, server)
        assert (await one.examined("workload"))["workload"].outcome.result is Result.OK
        server.delete(EXTERNAL_WORKLOADS, "shop", "db-1")
        server.create(external_workload("db-1", ["192.0.2.99"], 5432))
        outcome = (await one.examined("workload"))["workload"].outcome
        assert outcome.result is Result.FAIL and "192.0.2.99 instead of 192.0.2.10" in outcome.why


async def test_it_only_reads_at_the_api_server(root: None, host: Path) -> None:
    async with patient(host) as one, api_server(one) as server:
        ready_for_api(one, server)
        before, rules = server.store.version, await nft()
        await one.examined()
        asked = {(seen.method, seen.path) for seen in server.requests if seen.method != "GET"}
        assert asked == {("POST", REVIEWS)}
        assert server.store.version == before and await nft() == rules


async def nft() -> bytes:
    """The kernel's rules, without their counters."""
    return (await spawn.run(["nft", "--stateless", "list", "ruleset"], within=PATIENCE)).output


async def test_an_api_server_that_hangs_delays_nothing_else(root: None, host: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        async with patient(host) as one:
            set_key(host, "server", f'"https://127.0.0.1:{deaf.getsockname()[1]}"')
            set_key(host, "ca", f'"{host / "anchors.pem"}"')
            by_token(host)
            found = await one.examined("clock", "api-server", "trust-anchors", each=1.0)
    assert found["clock"].outcome.result is found["api-server"].outcome.result is Result.UNKNOWN
    assert found["trust-anchors"].outcome.result is Result.OK


# the application and the ports ---------------------------------------------------------------------


@contextmanager
def listening(address: str, port: int) -> Iterator[None]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        yield


async def test_an_application_on_loopback_alone_is_named(root: None, host: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    set_key(host, "ports", f"[{port}]")
    with listening("127.0.0.1", port):
        outcome = (await examined(host, "application"))["application"].outcome
    assert outcome.result is Result.FAIL and "listens on 127.0.0.1 alone" in outcome.why
    with listening("0.0.0.0", port):
        outcome = (await examined(host, "application"))["application"].outcome
    assert outcome.result in (Result.OK, Result.WARN)


# a long hello --------------------------------------------------------------------------------------


async def test_a_server_that_answers_a_long_hello(root: None, host: Path) -> None:
    async with patient(host) as one, api_server(one) as server:
        assert (await long_hello.ask("127.0.0.1", server.port, within=60.0)).answered


async def test_a_server_that_never_answers_it() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        found = await long_hello.ask("127.0.0.1", deaf.getsockname()[1], within=0.3)
    assert not found.answered and not found.detail


async def test_no_connection_says_nothing_about_its_size() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        found = await long_hello.ask("127.0.0.1", closed.getsockname()[1], within=60.0)
    assert not found.answered and "no connection" in found.detail


async def test_the_kernel_says_which_way_leads_to_the_pods(root: None, host: Path) -> None:
    set_key(host, "cluster_networks", '["127.0.0.0/8"]')
    assert "dev lo" in (await examined(host, "pod-routes"))["pod-routes"].outcome.why
