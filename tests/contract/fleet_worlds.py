"""What the suites of the watcher's smaller ports run on: in memory, and on a real kube-apiserver, which alone has
pods, nodes and the kind WorkloadGroup."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from agent.adapters.kube import TokenFile
from agent.adapters.kube.fleet import FleetApi
from tests.fakes.fleet_api import MemoryFleetApi
from tests.lab.realparts import ApiServer

ROWS = ["memory", pytest.param("real", marks=pytest.mark.real)]


class Memory:
    namespace = "hosts"

    def __init__(self) -> None:
        self.api = MemoryFleetApi()


class Real:
    """`token`: the file that `api` reads, of an administrator."""

    def __init__(self, server: ApiServer, token: Path) -> None:
        self.server, self.token, self.namespace = server, token, server.new_namespace()
        token.write_text(server.admin_token)
        self.api = FleetApi(TokenFile(server.url, str(server.ca_file), str(token)), instance="w")


M = TypeVar("M", bound=Memory)
R = TypeVar("R", bound=Real)


@asynccontextmanager
async def made(
    request: pytest.FixtureRequest, folder: Path, memory: Callable[[], M], real: Callable[[ApiServer, Path], R]
) -> AsyncIterator[M | R]:
    """The one that `request.param` of ROWS names."""
    if request.param == "memory":
        yield memory()
        return
    found = real(request.getfixturevalue("real_apiserver"), folder / "token")
    yield found
    await found.api.close()
