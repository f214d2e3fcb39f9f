"""A host that authenticates by JWT-SVID: the same rows on the embedded API server and on a real kube-apiserver."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from agent.adapters.kube import jwt_svid
from agent.core.reasons import Reason
from agent.ports import StatusApi, Trouble
from agent.sandbox.api.faults import Answer
from agent.sandbox.identity.jwt_authority import JwtAuthority
from agent.sandbox.identity.workload_api import Entry
from tests.contract import jwt_worlds
from tests.contract.jwt_worlds import AUDIENCE, DOMAIN, ME, WORKLOADS, Issuer, JwtWorld
from tests.contract.status_worlds import NAME, EmbeddedWorld, condition
from tests.lab.realparts import ApiServer

SETTLED = 60.0  # seconds within which a change of rights or keys is in force


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JwtWorld]:
    if request.param == "embedded":
        async with jwt_worlds.embedded(tmp_path) as world:
            yield world
        return
    issuer, server = request.getfixturevalue("issuing")
    async with jwt_worlds.real(server, issuer, tmp_path) as world:
        yield world


async def status(world: JwtWorld, token: str) -> int:
    """What a reading of the own ExternalWorkload is answered with."""
    return (await answer(world, "GET", f"/{NAME}", token=token))[0]


async def answer(
    world: JwtWorld, method: str, path: str, body: object = None, *, token: str = ""
) -> tuple[int, str]:
    """Status and message, for a client with this token."""
    token = token or world.keys.sign(ME, [AUDIENCE], 300)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
    data = None if body is None else json.dumps(body)
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(
            method, world.http.url + world.http.workloads + path, data=data, ssl=world.http.tls()
        ) as response,
    ):
        return response.status, (await response.json()).get("message", "")


async def until(world: JwtWorld, wanted: int, token: str) -> None:
    """RBAC that was just written takes a moment, and so does an authenticator that has just begun."""
    async with asyncio.timeout(SETTLED):
        while (seen := await status(world, token)) != wanted:
            assert seen in (401, 403, 404), seen
            await asyncio.sleep(0.1)


async def trouble(api: StatusApi) -> Trouble:
    with pytest.raises(Trouble) as raised:
        await api.read()
    return raised.value


async def test_a_jwt_svid_of_the_right_audience_is_this_host(world: JwtWorld) -> None:
    await world.http.create()
    await until(world, 200, world.keys.sign(ME, [AUDIENCE], 300))
    api = world.client()
    seen = await api.read()
    assert seen.identity == WORKLOADS
    told = await api.patch_conditions(seen, [condition()])
    assert told.ready == "True"


async def test_one_jwt_svid_serves_many_calls(world: JwtWorld) -> None:
    await world.http.create()
    await until(world, 200, world.keys.sign(ME, [AUDIENCE], 300))
    api, before = world.client(), world.workload_api.jwts_given
    for _ in range(5):
        await api.read()
    assert world.workload_api.jwts_given == before + 1


@pytest.mark.parametrize(
    "kind", ["audience", "expired", "foreign issuer", "foreign key", "no subject", "another domain"]
)
async def test_a_jwt_that_proves_nothing(world: JwtWorld, kind: str) -> None:
    await world.http.create()
    keys, foreign = world.keys, JwtAuthority(DOMAIN, "https://elsewhere.example")
    await until(world, 200, keys.sign(ME, [AUDIENCE], 300))
    impostor = JwtAuthority(DOMAIN, keys.issuer)
    tokens = {
        "audience": keys.sign(ME, ["another"], 300),
        "expired": keys.sign(ME, [AUDIENCE], -60),
        "foreign issuer": foreign.sign(ME, [AUDIENCE], 300),
        "foreign key": impostor.sign(ME, [AUDIENCE], 300),
        "no subject": keys.sign("", [AUDIENCE], 300),
        "another domain": keys.sign("spiffe://other.example/vm-1", [AUDIENCE], 300),
    }
    assert await status(world, tokens[kind]) == 401


async def test_a_refused_audience_has_its_reason_and_says_what_was_shown(world: JwtWorld) -> None:
    found = await trouble(world.client("another"))
    assert found.reason is Reason.API_JWT_REFUSED
    for said in ("aud another", f"sub {ME}", f"iss {world.keys.issuer}"):
        assert said in found.detail
    assert "eyJ" not in str(found), "the token itself stands nowhere"


async def test_after_a_401_the_next_call_brings_another_jwt_svid(world: JwtWorld) -> None:
    """An issuer that could not be reached when the API server started, or keys that were replaced."""
    await world.http.create()
    await until(world, 200, world.keys.sign(ME, [AUDIENCE], 300))
    api = world.client()
    world.workload_api.jwt = JwtAuthority(DOMAIN, world.keys.issuer)  # not yet known to the API server
    assert (await trouble(api)).reason is Reason.API_JWT_REFUSED
    world.workload_api.jwt = world.keys
    async with asyncio.timeout(SETTLED):
        while True:
            try:
                assert (await api.read()).identity == WORKLOADS
                break
            except Trouble as refused:
                assert refused.reason is Reason.API_JWT_REFUSED
                await asyncio.sleep(0.05)


async def test_a_new_key_of_the_issuer_and_the_jwts_of_the_old_one(world: JwtWorld) -> None:
    await world.http.create()
    old = world.keys.sign(ME, [AUDIENCE], 300)
    await until(world, 200, old)
    world.workload_api.rotate_jwt_keys()
    await until(world, 200, world.keys.sign(ME, [AUDIENCE], 300))
    assert await status(world, old) == 200


async def test_another_identity_is_another_user(world: JwtWorld) -> None:
    """Of this trust domain, and without a right here."""
    await world.http.create()
    await until(world, 200, world.keys.sign(ME, [AUDIENCE], 300))
    other = world.keys.sign(f"spiffe://{DOMAIN}/vm-2", [AUDIENCE], 300)
    if isinstance(world.http, EmbeddedWorld):
        world.http.server.allow = lambda asked: asked.user in (ME, "admin")
    assert await status(world, other) == 403


# faults of the Workload API ---------------------------------------------------------------------


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[JwtWorld]:
    async with jwt_worlds.embedded(tmp_path) as world:
        await world.http.create()
        yield world


async def test_no_jwt_while_the_workload_api_denies(alone: JwtWorld) -> None:
    alone.workload_api.deny = True
    api = alone.client()
    found = await trouble(api)
    assert found.reason is Reason.API_JWT_MISSING and "PERMISSION_DENIED" in found.detail
    alone.workload_api.deny = False
    assert (await api.read()).identity == WORKLOADS


async def test_no_jwt_while_the_workload_api_is_away_and_one_that_is_held_serves_on(alone: JwtWorld) -> None:
    api, late = alone.client(), alone.client()
    await api.read()
    await alone.workload_api.stop()
    found = await trouble(late)
    assert found.reason is Reason.API_JWT_MISSING and "UNAVAILABLE" in found.detail
    assert (await api.read()).identity == WORKLOADS
    await alone.workload_api.start()
    assert (await late.read()).identity == WORKLOADS


async def test_no_jwt_from_a_workload_api_that_is_silent(alone: JwtWorld) -> None:
    alone.workload_api.silence = True
    api = alone.client()
    found = await trouble(api)
    assert found.reason is Reason.API_JWT_MISSING and "not answered yet" in found.detail
    alone.workload_api.silence = False
    assert (await api.read()).identity == WORKLOADS


async def test_a_jwt_that_had_run_out_when_it_came_tells_of_a_clock(alone: JwtWorld) -> None:
    alone.workload_api.jwt_ttl = -30.0
    assert (await trouble(alone.client())).reason is Reason.CLOCK_SKEWED


async def test_a_clock_that_is_behind_makes_no_jwt_last_longer(alone: JwtWorld) -> None:
    """It may be set right at any moment, and the server goes by its own."""
    alone.workload_api.jwt_ttl = 300.0
    credential = alone.credential(wall=lambda: time.time() - 15 * 365 * 86400.0)
    await credential.access()
    assert credential.about()["expires_at"] - asyncio.get_running_loop().time() <= 300.0
    await credential.close()


async def test_an_identity_that_is_not_this_callers_gives_no_jwt(alone: JwtWorld) -> None:
    alone.workload_api.register(os.geteuid(), Entry(f"spiffe://{DOMAIN}/vm-2"))
    found = await trouble(alone.client())
    assert found.reason is Reason.API_JWT_MISSING and "PERMISSION_DENIED" in found.detail


@pytest.mark.parametrize("token", ["", "a.b.c", "a.e30.c", "x", "a.eyJzdWIiOjEsImV4cCI6MX0.c", "ä.e30.c"])
def test_what_is_no_jwt(token: str) -> None:
    assert jwt_svid.read_claims(token) is None


async def test_a_jwt_that_the_server_repeats_is_taken_out_of_what_it_said(alone: JwtWorld) -> None:
    assert isinstance(alone.http, EmbeddedWorld)
    credential = alone.credential()
    api = alone.http.client(credential=credential)
    jwt = (await credential.access()).token
    alone.http.server.faults.add(Answer(401, message=f"who is Bearer {jwt}?"))
    found = await trouble(api)
    assert found.detail.startswith("who is Bearer (the token)?") and jwt not in str(found)
    await api.close()


# admission ------------------------------------------------------------------------------------------


@pytest.fixture
async def admitted(issuing: tuple[Issuer, ApiServer], tmp_path: Path) -> AsyncIterator[JwtWorld]:
    """With the shipped admission policy, and a role that allows too much."""
    issuer, server = issuing
    async with jwt_worlds.real(server, issuer, tmp_path) as world:
        await jwt_worlds.admit(world.http)
        await jwt_worlds.allow(world.http, "much", TOO_MUCH, ME)
        await world.http.create()
        await until(world, 200, world.keys.sign(ME, [AUDIENCE], 300))
        async with asyncio.timeout(SETTLED):  # the policy is compiled in the background
            while (await answer(world, "PATCH", f"/{NAME}", {"metadata": {"labels": {"a": "b"}}}))[0] != 422:
                await asyncio.sleep(0.1)
        yield world


OTHER = {"meshTLS": {"identity": f"spiffe://{DOMAIN}/vm-2", "serverName": "vm-2.example.org"}}
TOO_MUCH = {
    "apiGroups": ["workload.linkerd.io"],
    "resources": ["externalworkloads", "externalworkloads/status"],
    "verbs": ["get", "patch", "update", "create"],
}
STATUS = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "HostReady", "message": ""}]}}


async def test_spec_and_labels_sent_along_with_a_status_change_nothing_of_the_identity(admitted: JwtWorld) -> None:
    before = await admitted.http.raw()
    body = STATUS | {"spec": OTHER, "metadata": {"labels": {"app": "other"}}}
    assert (await answer(admitted, "PATCH", f"/{NAME}/status", body))[0] == 200
    after = await admitted.http.raw()
    assert (after["spec"], after["metadata"]["labels"]) == (before["spec"], before["metadata"]["labels"])


# the issuer is unreachable ---------------------------------------------------------------------------------


@pytest.mark.real
async def test_a_jwt_is_taken_once_the_issuer_can_be_reached(
    issuing: tuple[Issuer, ApiServer], tmp_path: Path
) -> None:
    """It was away when the API server started: 401, and no more than 401, until the server has asked again."""
    issuer, _ = issuing
    issuer.stop()
    try:
        with ApiServer(issuer.configuration()) as server:
            async with jwt_worlds.real(server, issuer, tmp_path) as world:
                await world.http.create()
                api = world.client()
                assert (await trouble(api)).reason is Reason.API_JWT_REFUSED
                issuer.start()
                await until(world, 200, world.keys.sign(ME, [AUDIENCE], 300))
                assert (await api.read()).identity == WORKLOADS
    finally:
        issuer.start()
