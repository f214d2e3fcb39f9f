"""KubeApi under faults: each trouble has its reason, in time, and reveals no secret."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from agent.adapters.kube import KubeApi, calls
from agent.core.facts import Workload
from agent.core.reasons import Reason
from agent.ports import Lease, Trouble
from agent.sandbox.api import store
from agent.sandbox.api.faults import Answer, Break, Fault, Raw
from agent.sandbox.api.server import EXTERNAL_WORKLOADS
from agent.sandbox.identity.ca import Authority
from tests.contract import status_worlds
from tests.contract.status_worlds import EmbeddedWorld, condition, loaded, server_tls

QUICK = 0.3  # seconds: a timeout that a test can wait for
LEASE = Lease("vm-1", "2026-01-02T03:04:05.678901Z", 40)
SEEN = Workload("uid", "100", "", "")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[EmbeddedWorld]:
    async with status_worlds.embedded(tmp_path) as world:
        await world.create()
        await world.create_lease({})
        yield world


async def first(api: KubeApi) -> Workload | None:
    async with aclosing(api.watch("0")) as watch:
        return await anext(watch)


CALLS: dict[str, Callable[[KubeApi], Awaitable[object]]] = {
    "read": lambda api: api.read(),
    "watch": first,
    "patch_conditions": lambda api: api.patch_conditions(SEEN, [condition()]),
    "read_lease": lambda api: api.read_lease(),
    "renew_lease": lambda api: api.renew_lease(LEASE),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


async def trouble(asked: Awaitable[object]) -> Trouble:
    with pytest.raises(Trouble) as raised:
        await asked
    assert "host-token" not in str(raised.value)
    assert not re.search(r"0x[0-9a-f]{6}|<.*object", raised.value.detail), "the same trouble reads the same"
    return raised.value


# refusals -----------------------------------------------------------------------------------------

REFUSALS = [
    (Answer(400), Reason.API_REFUSED, None),
    (Answer(401), Reason.API_UNAUTHORIZED, None),
    (Answer(403), Reason.API_FORBIDDEN, None),
    (Answer(409), Reason.API_CONFLICT, None),
    (Answer(422), Reason.API_REFUSED, None),
    (Answer(429), Reason.API_THROTTLED, None),
    (Answer(429, "7"), Reason.API_THROTTLED, 7.0),
    (Answer(500), Reason.API_FAILING, None),
    (Answer(503, "30"), Reason.API_FAILING, 30.0),
    (Answer(503, "soon"), Reason.API_FAILING, None),
    (Answer(302), Reason.API_FAILING, None),
]


@every_call
@pytest.mark.parametrize(("answer", "reason", "retry_after"), REFUSALS, ids=str)
async def test_a_refusal_has_its_reason_and_the_servers_words(
    world: EmbeddedWorld,
    call: Callable[[KubeApi], Awaitable[object]],
    answer: Answer,
    reason: Reason,
    retry_after: float | None,
) -> None:
    world.server.faults.add(answer)
    found = await trouble(call(world.api))
    assert (found.reason, found.detail, found.retry_after) == (reason, "made to fail", retry_after)


async def test_what_is_missing_depends_on_what_was_asked_for(world: EmbeddedWorld) -> None:
    world.server.faults.add(Answer(404), times=6)  # a patch that misses its object looks for it
    found = {name: (await trouble(call(world.api))).reason for name, call in CALLS.items()}
    lease = {"read_lease", "renew_lease"}
    assert found == {n: Reason.LEASE_MISSING if n in lease else Reason.WORKLOAD_MISSING for n in CALLS}


async def test_a_date_to_retry_after_is_measured_by_the_servers_clock(world: EmbeddedWorld) -> None:
    dates = {"Date": "Sat, 01 Jan 2000 00:00:00 GMT", "Retry-After": "Sat, 01 Jan 2000 00:01:30 GMT"}
    world.server.faults.add(Raw("", 503, dates))
    past = dates | {"Retry-After": "Fri, 31 Dec 1999 00:00:00 GMT"}
    world.server.faults.add(Raw("", 503, past))
    assert (await trouble(world.api.read())).retry_after == 90.0
    assert (await trouble(world.api.read())).retry_after == 0.0


async def test_a_refusal_without_words_gives_its_code(world: EmbeddedWorld) -> None:
    world.server.faults.add(Raw("<html>Bad gateway</html>", 502))
    assert (await trouble(world.api.read())).detail == "HTTP 502"


async def test_a_watch_that_is_too_old_is_quiet_also_as_a_plain_410(world: EmbeddedWorld) -> None:
    world.server.faults.add(Answer(410))
    assert [seen async for seen in world.api.watch("100")] == []


# connections --------------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (Break.HANG, Reason.API_TIMEOUT),
        (Break.RESET, Reason.API_UNREACHABLE),
        (Break.TRUNCATE, Reason.API_FAILING),
        (Raw('{"kind": "ExternalWorkl\n'), Reason.API_FAILING),
        (Raw("[1, 2]\n"), Reason.API_FAILING),
        (Raw("[" * 100_000 + "\n"), Reason.API_FAILING),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_broken_answer(
    world: EmbeddedWorld, call: Callable[[KubeApi], Awaitable[object]], broken: Break | Raw, reason: Reason
) -> None:
    api = world.client(timeout=QUICK)
    # Twice: a GET is tried again where a connection broke that rested.
    world.server.faults.add(broken, times=2)
    assert (await trouble(call(api))).reason is reason
    world.server.faults.clear()
    assert (await api.read()).identity == status_worlds.WORKLOAD.identity
    await api.close()


@every_call
async def test_nobody_listens(
    world: EmbeddedWorld, call: Callable[[KubeApi], Awaitable[object]], tmp_path: Path
) -> None:
    await world.server.stop()
    found = await trouble(call(world.api))
    assert found.reason is Reason.API_UNREACHABLE
    assert found.detail == f"cannot reach {world.url}: Connection refused"


async def test_the_name_is_not_known(world: EmbeddedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    api = world.client(server="https://api.example.org:6443")
    found = await trouble(api.read())
    assert found.reason is Reason.API_UNREACHABLE
    assert found.detail.endswith("Name or service not known")
    await api.close()


async def test_a_listener_that_never_speaks(world: EmbeddedWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # no program accepts, but the kernel completes
        api = world.client(server=f"https://127.0.0.1:{mute.getsockname()[1]}", timeout=QUICK)
        assert (await trouble(api.read())).reason is Reason.API_TIMEOUT
        await api.close()


async def test_an_answer_without_end(world: EmbeddedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MOST_BYTES", 1000)
    world.server.faults.add(Raw("x" * 1001), times=2)
    for asked in (world.api.read(), first(world.api)):
        assert "more than 1000 bytes" in (await trouble(asked)).detail


# a watch that is open -----------------------------------------------------------------------------


async def test_a_watch_breaks_with_its_connection(world: EmbeddedWorld) -> None:
    async with aclosing(world.api.watch("0")) as watch:
        assert await anext(watch) == await world.api.read()
        world.server.cut()
        assert (await trouble(anext(watch))).reason is Reason.API_FAILING


async def test_a_watch_of_a_server_that_stops_ends_quietly(world: EmbeddedWorld) -> None:
    async with aclosing(world.api.watch("0")) as watch:
        await anext(watch)
        await world.server.stop()
        assert [seen async for seen in watch] == []


async def test_a_watch_that_goes_silent_beyond_its_time(world: EmbeddedWorld) -> None:
    """A server that keeps a watch open longer than it was asked to is gone."""
    patient = world.client(timeout=QUICK, watch_seconds=0)
    assert await first(patient) is not None
    async with aclosing(patient.watch("0")) as watch:
        await anext(watch)
        assert (await trouble(anext(watch))).reason is Reason.API_TIMEOUT
    await patient.close()


async def test_an_error_event_is_trouble_but_for_410(world: EmbeddedWorld) -> None:
    line = '{"type": "ERROR", "object": {"kind": "Status", "code": %d, "message": "etcd is away"}}\n'
    world.server.faults.add(Raw(line % 500))
    found = await trouble(first(world.api))
    assert (found.reason, found.detail) == (Reason.API_FAILING, "the watch ended: etcd is away")
    world.server.faults.add(Raw(line % 410))
    assert [seen async for seen in world.api.watch("100")] == []


async def test_a_watch_takes_lines_in_any_pieces_and_no_heed_of_bookmarks(world: EmbeddedWorld) -> None:
    lines = ['{"type": "BOOKMARK", "object": {}}', '{"type": "ADDED", "object": {}}', '{"type": "DELETED"}', ""]
    world.server.faults.add(Raw("\n".join(lines)))
    assert [seen async for seen in world.api.watch("100")] == [Workload("", "", "", ""), None]


# trust and credentials ----------------------------------------------------------------------------


async def test_a_server_of_another_authority(world: EmbeddedWorld, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(Authority("other.example").pem)
    found = await trouble(world.api.read())
    assert found.reason is Reason.API_UNVERIFIED
    assert "unable to get local issuer certificate" in found.detail


async def test_a_server_of_another_name(tmp_path: Path) -> None:
    async with status_worlds.embedded(tmp_path, names=["api.example.org"]) as world:
        found = await trouble(world.api.read())
    assert found.reason is Reason.API_NAME_MISMATCH
    assert "127.0.0.1" in found.detail


@pytest.mark.parametrize("window", [(-7200.0, -3600.0), (3600.0, 7200.0)])
async def test_a_servers_identity_that_is_not_valid_now(
    world: EmbeddedWorld, tmp_path: Path, window: tuple[float, float]
) -> None:
    authority = Authority("example.org")
    (tmp_path / "ca.crt").write_text(authority.pem)
    tls = server_tls(authority, ["127.0.0.1"], tmp_path, *window)
    await world.server.stop()
    await world.server.start(port=world.server.port, ssl_context=tls)
    assert (await trouble(world.api.read())).reason is Reason.API_CERTIFICATE_EXPIRED


async def test_a_server_without_tls(world: EmbeddedWorld) -> None:
    await world.server.stop()
    await world.server.start(port=world.server.port)
    assert (await trouble(world.api.read())).reason is Reason.API_UNVERIFIED


async def test_plain_http_is_refused(world: EmbeddedWorld) -> None:
    """The configuration has been checked: a bug, not a trouble."""
    with pytest.raises(ValueError, match="not https"):
        await world.client(server="http://127.0.0.1:1").read()


async def test_the_authority_changes_beneath_us(world: EmbeddedWorld, tmp_path: Path) -> None:
    assert await world.api.read()
    await world.server.stop()
    authority = Authority("example.org")
    tls = server_tls(authority, ["127.0.0.1"], tmp_path)
    await world.server.start(port=world.server.port, ssl_context=tls)
    assert (await trouble(world.api.read())).reason is Reason.API_UNVERIFIED
    (tmp_path / "ca.crt").write_text(f"# Zürich\n{authority.pem}")
    assert await world.api.read()


@pytest.mark.parametrize("name", ["ca.crt", "token"])
@pytest.mark.parametrize("content", [None, "", "\n", "two words\r\n", "schön"])
async def test_an_unusable_file_is_named(
    world: EmbeddedWorld, tmp_path: Path, name: str, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all, no CA certificate does not mean the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.crt"))
    (tmp_path / "system.crt").write_bytes((tmp_path / "ca.crt").read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    found = await trouble(world.api.read())
    assert found.reason is Reason.API_CREDENTIAL_UNREADABLE
    assert str(tmp_path / name) in found.detail
    assert content is None or "it holds no" in found.detail


# what goes over the wire --------------------------------------------------------------------------


async def test_one_patch_is_one_request_with_its_guards(world: EmbeddedWorld) -> None:
    seen = await world.api.read()
    world.server.requests.clear()
    await world.api.patch_conditions(seen, [condition()])
    (request,) = world.server.requests
    assert (request.method, request.user) == ("PATCH", "host")
    assert request.path.endswith("/externalworkloads/vm-1/status")
    assert request.content_type == "application/merge-patch+json"
    guard = {"uid": seen.uid, "resourceVersion": seen.resource_version}
    ready = {"type": "Ready", "status": "True", "reason": "HostReady", "message": "as intended"}
    ready["lastTransitionTime"] = "2026-01-02T03:04:05Z"
    assert request.body == {"metadata": guard, "status": {"conditions": [ready]}}


async def test_an_answer_may_lack_everything(world: EmbeddedWorld) -> None:
    odd = (
        '{"metadata": 1, "spec": {"ports": [{"port": "x"}, 3], "workloadIPs": {}}, "status": {"conditions": [{}]}}'
    )
    world.server.faults.add(Raw(odd), times=2)
    seen = await world.api.read()
    assert (seen.uid, seen.ports, seen.addresses, seen.ready) == ("", (), (), "")
    assert await world.api.read_lease() == Lease()


async def test_closed_twice_and_used_again(world: EmbeddedWorld) -> None:
    await world.api.close()
    await world.api.close()
    assert await world.api.read()


async def test_faults_choose_their_requests(world: EmbeddedWorld) -> None:
    world.server.faults.add(Answer(503), times=2, method="PATCH", path="/leases/")
    assert await world.api.read_lease()
    for _ in range(2):
        await trouble(world.api.renew_lease(LEASE))
    assert await world.api.renew_lease(LEASE)
    assert world.server.faults.waiting == [Fault(Answer(503), 0, "PATCH", "/leases/")]


async def test_permissions_are_asked_in_rbacs_words(world: EmbeddedWorld) -> None:
    asked = []
    world.server.allow = lambda ask: asked.append(ask) or ask.verb != "patch"  # type: ignore[func-returns-value]
    await world.api.read()
    await first(world.api)
    found = await trouble(world.api.patch_conditions(SEEN, [condition()]))
    assert found.reason is Reason.API_FORBIDDEN
    assert 'User "host" cannot patch resource "externalworkloads/status"' in found.detail
    assert [(a.verb, a.resource, a.name) for a in asked] == [
        ("get", "externalworkloads", "vm-1"),
        ("watch", "externalworkloads", "vm-1"),
        ("patch", "externalworkloads/status", "vm-1"),
    ]


# what only the embedded server can be told ---------------------------------------------------------


async def test_forgetting_makes_every_older_version_too_old(world: EmbeddedWorld) -> None:
    before = await world.api.read()
    await world.edit()
    world.server.store.forget()
    assert [seen async for seen in world.api.watch(before.resource_version)] == []


async def test_the_history_is_bounded(world: EmbeddedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "HISTORY", 3)
    before = await world.api.read()
    for label in ("a", "b", "c", "d"):
        await world.patch({"metadata": {"labels": {"app": label}}})
    assert [seen async for seen in world.api.watch(before.resource_version)] == []
    assert await first(world.api) == await world.api.read()


async def test_what_it_holds_outlives_a_stop(world: EmbeddedWorld, tmp_path: Path) -> None:
    seen = await world.api.read()
    tls = loaded(tmp_path)
    await world.server.stop()
    await world.server.start(port=world.server.port, ssl_context=tls)
    assert await world.api.read() == seen


async def test_made_and_taken_away_in_process(world: EmbeddedWorld) -> None:
    world.server.delete(EXTERNAL_WORKLOADS, "hosts", "vm-1")
    assert (await trouble(world.api.read())).reason is Reason.WORKLOAD_MISSING
    made = world.server.create(status_worlds.manifest("hosts"))
    assert made == world.server.get(EXTERNAL_WORKLOADS, "hosts", "vm-1")
    assert (await world.api.read()).uid == made["metadata"]["uid"]
