"""The embedded Workload API checked by the SPIFFE project's own client in Go; and its attestation."""

import asyncio
import json
import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from agent.sandbox.identity.ca import Authority
from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer
from tests.contract.workload_worlds import DOMAIN, ID, SECOND
from tests.contract.workload_worlds import fresh_folder as fresh_folder
from tests.contract.workload_worlds import fresh_server as fresh_server

NOBODY = pwd.getpwnam("nobody").pw_uid
ME = os.geteuid()


class Judge:
    """go-spiffe, as the user `uid`."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._command = [str(program), "x509", "--socket", f"unix://{folder / 'agent.sock'}", "--timeout", "20s"]

    @asynccontextmanager
    async def watching(self, *options: str, uid: int = ME) -> AsyncIterator[asyncio.StreamReader]:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *options,
            stdout=asyncio.subprocess.PIPE,
            user=uid,
            env={**os.environ},
        )
        assert process.stdout is not None
        try:
            yield process.stdout
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def says(self, *options: str, uid: int = ME) -> list[dict[str, Any]]:
        async with self.watching(*options, uid=uid) as lines:
            return [json.loads(line) async for line in lines]


@pytest.fixture
def asks(judge: Path, folder: Path) -> Judge:
    return Judge(judge, folder)


async def test_an_svid_verifies_by_the_bundle_that_comes_with_it(server: WorkloadApiServer, asks: Judge) -> None:
    server.register(ME, Entry(ID))
    (update,) = await asks.says()
    (svid,) = update["svids"]
    assert (svid["id"], svid["key"], svid["chain_len"]) == (ID, "EC P-256", 1)
    assert (svid["verified"], svid["fault"]) == (True, "")
    assert update["bundles"] == {DOMAIN: 1}


async def test_several_svids_with_hints_and_keys_of_their_own(server: WorkloadApiServer, asks: Judge) -> None:
    server.register(ME, Entry(ID, hint="internal"), Entry(SECOND, hint="external", key_type="rsa-2048"))
    (update,) = await asks.says()
    assert [(svid["id"], svid["hint"], svid["key"], svid["verified"]) for svid in update["svids"]] == [
        (ID, "internal", "EC P-256", True),
        (SECOND, "external", "RSA 2048", True),
    ]


async def test_the_bundle_of_a_federated_trust_domain(folder: Path, asks: Judge) -> None:
    federated = {f"far.{DOMAIN}": Authority(f"far.{DOMAIN}").der}
    entries = {ME: (Entry(ID),)}
    async with WorkloadApiServer(folder / "agent.sock", Authority(DOMAIN), entries, federated=federated):
        (update,) = await asks.says()
    assert update["bundles"] == {DOMAIN: 1, f"far.{DOMAIN}": 1}


async def test_rotations_in_real_time(folder: Path, asks: Judge) -> None:
    async with WorkloadApiServer(folder / "agent.sock", Authority(DOMAIN), {ME: (Entry(ID),)}, ttl=2):
        updates = await asks.says("--count", "3")
    serials = [update["svids"][0]["serial"] for update in updates]
    ends = [update["svids"][0]["not_after"] for update in updates]
    assert len(set(serials)) == 3
    assert ends == sorted(set(ends))


async def test_who_is_not_registered_is_denied(server: WorkloadApiServer, asks: Judge) -> None:
    (failure,) = await asks.says()
    assert failure["error"] == "PermissionDenied"
    assert "no identity issued" in failure["message"]


async def test_everybody_is_denied_and_then_no_more(server: WorkloadApiServer, asks: Judge) -> None:
    server.register(ME, Entry(ID))
    server.deny = True
    async with asks.watching("--retry") as lines:
        assert json.loads(await lines.readline())["error"] == "PermissionDenied"
        server.deny = False
        assert await has_svids(lines, ID)


async def test_an_entry_made_while_a_client_retries_reaches_it(server: WorkloadApiServer, asks: Judge) -> None:
    async with asks.watching("--retry") as lines:
        assert json.loads(await lines.readline())["error"] == "PermissionDenied"
        server.register(ME, Entry(ID))
        assert await has_svids(lines, ID)


async def test_an_entry_added_to_an_open_stream_is_pushed(server: WorkloadApiServer, asks: Judge) -> None:
    server.register(ME, Entry(ID))
    async with asks.watching("--count", "2") as lines:
        assert await has_svids(lines, ID)
        server.register(ME, Entry(ID), Entry(SECOND))
        assert await has_svids(lines, ID, SECOND)


async def test_a_client_survives_the_servers_stop_and_start(server: WorkloadApiServer, asks: Judge) -> None:
    server.register(ME, Entry(ID))
    async with asks.watching("--retry", "--count", "2") as lines:
        assert await has_svids(lines, ID)
        await server.stop()
        assert json.loads(await lines.readline())["error"] == "Unavailable"
        await server.start()
        assert await has_svids(lines, ID)


async def test_silence_ends_with_an_answer(server: WorkloadApiServer, asks: Judge) -> None:
    server.register(ME, Entry(ID))
    server.silence = True
    async with asks.watching() as lines:
        first = asyncio.create_task(lines.readline())
        assert await asyncio.wait({first}, timeout=0.5) == (set(), {first})
        server.silence = False
        assert "svids" in json.loads(await first)


async def test_the_users_own_entries_are_what_it_gets(root: None, server: WorkloadApiServer, asks: Judge) -> None:
    server.register(ME, Entry(ID))
    (failure,) = await asks.says(uid=NOBODY)
    assert failure["error"] == "PermissionDenied"
    server.register(NOBODY, Entry(SECOND))
    for uid, expected in ((ME, ID), (NOBODY, SECOND), (ME, ID)):
        (update,) = await asks.says(uid=uid)
        assert [svid["id"] for svid in update["svids"]] == [expected]


async def has_svids(lines: asyncio.StreamReader, *ids: str) -> bool:
    """Within the lines that are still to come; failures before it are passed over."""
    async for line in lines:
        seen = json.loads(line).get("svids", ())
        if [svid["id"] for svid in seen] == list(ids):
            return True
    return False


# the protocol, asked by hand ------------------------------------------------------------------------

HEADER = (("workload.spiffe.io", "true"),)


async def code(address: str, method: str, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    async with grpc.aio.insecure_channel(address) as channel:
        ask: grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
        ask = channel.unary_stream(f"/SpiffeWorkloadAPI/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(ask(b"", metadata=metadata)))
    return caught.value.code()


@pytest.mark.parametrize(
    ("method", "metadata", "expected"),
    [
        ("FetchX509SVID", (), grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchX509SVID", (("workload.spiffe.io", "yes"),), grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchX509Bundles", (), grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchX509Bundles", HEADER, grpc.StatusCode.PERMISSION_DENIED),
        ("FetchJWTSVID", (), grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchJWTSVID", HEADER, grpc.StatusCode.INVALID_ARGUMENT),  # for no audience
        ("FetchJWTBundles", HEADER, grpc.StatusCode.PERMISSION_DENIED),
        ("ValidateJWTSVID", (), grpc.StatusCode.INVALID_ARGUMENT),
        ("ValidateJWTSVID", HEADER, grpc.StatusCode.INVALID_ARGUMENT),
        ("FetchNothing", HEADER, grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_refusals(
    server: WorkloadApiServer,
    folder: Path,
    method: str,
    metadata: tuple[tuple[str, str], ...],
    expected: grpc.StatusCode,
) -> None:
    assert await code(f"unix:{folder / 'agent.sock'}", method, metadata) is expected


async def test_who_dials_past_the_attestor_is_nobody(server: WorkloadApiServer) -> None:
    server.register(ME, Entry(ID))
    assert (
        await code(f"unix-abstract:{server.inner}", "FetchX509SVID", HEADER) is grpc.StatusCode.PERMISSION_DENIED
    )
