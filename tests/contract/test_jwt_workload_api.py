"""The embedded Workload API's JWT side checked by the SPIFFE project's own client in Go."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer
from tests.contract.workload_worlds import ID, SECOND
from tests.contract.workload_worlds import fresh_folder as fresh_folder
from tests.contract.workload_worlds import fresh_server as fresh_server

ME = os.geteuid()
Judge = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture
def asks(judge: Path, folder: Path) -> Judge:
    async def ask(*options: str) -> list[dict[str, Any]]:
        argv = [str(judge), "jwt", "--socket", f"unix://{folder / 'agent.sock'}", "--timeout", "20s", *options]
        program = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, env={**os.environ})
        told, _ = await program.communicate()
        return [json.loads(line) for line in told.splitlines()]

    return ask


async def test_a_jwt_verifies_by_the_bundle_and_by_the_workload_api(
    server: WorkloadApiServer, asks: Judge
) -> None:
    server.register(ME, Entry(ID, hint="internal"))
    (token,) = await asks("--audience", "kubernetes")
    assert (token["id"], token["hint"], token["audience"]) == (ID, "internal", ["kubernetes"])
    assert (token["verified"], token["accepted"], token["keys"]) == (True, ID, 1)
    assert token["foreign"] == "InvalidArgument"


async def test_each_identity_has_its_jwt_or_the_one_that_is_asked_for(
    server: WorkloadApiServer, asks: Judge
) -> None:
    server.register(ME, Entry(ID), Entry(SECOND))
    assert [token["id"] for token in await asks("--audience", "a")] == [ID, SECOND]
    assert [token["id"] for token in await asks("--audience", "a", "--id", SECOND)] == [SECOND]


async def test_an_identity_of_somebody_else_is_denied_a_jwt(server: WorkloadApiServer, asks: Judge) -> None:
    (failure,) = await asks("--audience", "a")
    assert failure["error"] == "PermissionDenied"
    server.register(ME, Entry(ID))
    (failure,) = await asks("--audience", "a", "--id", SECOND)
    assert failure["error"] == "PermissionDenied"


async def test_a_jwt_for_nobody_is_no_jwt(server: WorkloadApiServer, asks: Judge) -> None:
    server.register(ME, Entry(ID))
    (failure,) = await asks("--audience", "")
    assert failure["error"] == "InvalidArgument"


async def test_a_new_key_is_in_the_jwt_bundle_beside_the_old_one(server: WorkloadApiServer, asks: Judge) -> None:
    server.register(ME, Entry(ID))
    await asks("--audience", "a")
    server.rotate_jwt_keys()
    (token,) = await asks("--audience", "a")
    assert (token["keys"], token["verified"], token["accepted"]) == (2, True, ID)
