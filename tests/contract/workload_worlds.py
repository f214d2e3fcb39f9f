"""The worlds that the suite of the WorkloadApi port runs in: in memory, and embedded, read through `spiffe`.

A world is what an operator of SPIRE does; its `api` is the host's own view.
"""

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from agent.adapters.spire import SpireWorkloadApi
from agent.core.facts import Svid
from agent.core.reasons import Reason
from agent.ports import WorkloadApi
from agent.sandbox.identity.ca import Authority, KeyType
from agent.sandbox.identity.workload_api import Entry, WorkloadApiServer
from tests.fakes.workload_api import MemoryWorkloadApi, svid

DOMAIN = "example.org"
ID = f"spiffe://{DOMAIN}/vm-1"
SECOND = f"spiffe://{DOMAIN}/vm-1/second"

KEY_NAMES: dict[KeyType, str] = {"ec-p256": "EC P-256", "ec-p384": "EC P-384", "rsa-2048": "RSA 2048"}


class World(Protocol):
    def api(self, within: float = 4.0) -> WorkloadApi: ...

    def register(self, *ids: str, key_type: KeyType = "ec-p256") -> None:
        """These are the caller's from now on; none: it is denied."""
        ...

    def rotate(self) -> None: ...

    def fall_silent(self) -> None:
        """From now on it accepts every client and answers none."""
        ...

    async def go_away(self) -> None: ...

    async def come_back(self) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self._api = MemoryWorkloadApi()
        self._svids: tuple[Svid, ...] = ()

    def api(self, within: float = 4.0) -> WorkloadApi:
        self._api.within = within
        return self._api

    def register(self, *ids: str, key_type: KeyType = "ec-p256") -> None:
        self._svids = tuple(svid(one, KEY_NAMES[key_type]) for one in ids)
        self._say()

    def rotate(self) -> None:
        self._say()

    def fall_silent(self) -> None:
        self._api.quiet()

    async def go_away(self) -> None:
        self._api.fail(Reason.WORKLOAD_API_ABSENT)

    async def come_back(self) -> None:
        self._say()

    def _say(self) -> None:
        if self._svids:
            self._api.serve(*self._svids)
        else:
            self._api.fail(Reason.WORKLOAD_API_DENIED)


class EmbeddedWorld:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = WorkloadApiServer(path, Authority(DOMAIN))

    def api(self, within: float = 4.0) -> WorkloadApi:
        return SpireWorkloadApi(str(self.path), within)

    def register(self, *ids: str, key_type: KeyType = "ec-p256") -> None:
        self.server.register(os.geteuid(), *(Entry(one, key_type=key_type) for one in ids))

    def rotate(self) -> None:
        self.server.rotate()

    def fall_silent(self) -> None:
        self.server.silence = True

    async def go_away(self) -> None:
        await self.server.stop()

    async def come_back(self) -> None:
        await self.server.start()


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A folder with a short path that every user may enter (a test's own is its user's alone)."""
    folder = Path(tempfile.mkdtemp(prefix="fairlead-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Every task that began inside has ended, and so does every thread, soon."""
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    yield
    if left := asyncio.all_tasks() - tasks - {asyncio.current_task()}:  # grpc.aio tidies up behind a call's end
        await asyncio.wait(left, timeout=10)
    left = {task for task in left if not task.done()}
    assert not left, f"tasks left over: {left}"
    for thread in set(threading.enumerate()) - threads:
        if "_poll_wrapper" not in thread.name:  # grpc.aio's own, one for the whole process
            thread.join(timeout=5)
            assert not thread.is_alive(), thread


@pytest.fixture(name="folder")
def fresh_folder() -> Iterator[Path]:
    with folder_for_all() as folder:
        yield folder


@pytest.fixture(name="server")
async def fresh_server(folder: Path) -> AsyncIterator[WorkloadApiServer]:
    async with nothing_left(), WorkloadApiServer(folder / "agent.sock", Authority(DOMAIN)) as server:
        yield server
