"""The agent's pages of metrics, by real HTTP: on the status socket and at `metrics.listen`."""

import asyncio
import contextlib
import dataclasses
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from agent import config
from agent.adapters import http_client, kube, proxy_reading
from agent.adapters.helper import Helper
from agent.adapters.http_server import Request, Response, Route, Server
from agent.adapters.status_socket import StatusSocket
from agent.config import derived
from agent.core.facts import UNKNOWN, PhaseKind, RedirectFact
from agent.core.metrics import DECLARED
from agent.core.reasons import Fault, Reason
from agent.core.slots import Slot
from agent.daemon import metrics
from agent.daemon.context import Context
from agent.host import Host
from agent.loops.board import Board
from tests.config.test_config import EXAMPLE
from tests.core import world
from tests.core.test_policy import serving
from tests.core.test_proxy_metrics import KEPT, PAGE

ROOT = Path(__file__).parents[2]


def context(prefix: Path, listen: str = "") -> Context:
    parsed = config.parse(EXAMPLE.read_text())
    parsed = dataclasses.replace(parsed, metrics=config.MetricsConfig(listen))
    spec = derived.policy_spec(parsed, prefix, "boot1")
    board = Board()
    board.facts.set(serving())
    credential = cast(kube.Credential, None)
    return Context(parsed, Host(prefix), (1, 1), spec, board, credential, Helper(str(prefix)), 1)


def listening() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)
    listener.setblocking(False)
    return listener


@contextlib.asynccontextmanager
async def admin(monkeypatch: pytest.MonkeyPatch, page: bytes, status: int = 200) -> AsyncIterator[None]:
    """A proxy whose page of metrics is this."""

    async def answer(request: Request) -> Response:
        return Response(page, status, "text/plain")

    with listening() as listener:
        here = http_client.Server("127.0.0.1", listener.getsockname()[1])
        monkeypatch.setattr(proxy_reading, "ADMIN", here)
        async with Server([Route("GET", "/metrics", answer)]).serving(listener.dup(), 8):
            yield


@contextlib.asynccontextmanager
async def agent(prefix: Path) -> AsyncIterator[Path]:
    async def changed(_version: int, _seconds: float) -> None:
        return

    async def ask(_phase: PhaseKind) -> None:
        return

    it = context(prefix)
    it.host.socket.parent.mkdir(parents=True)
    served = StatusSocket(it.host.socket, dict, changed, ask, more=metrics.routes(it))
    async with served.serving():
        yield it.host.socket


def _get(where: Path | int, target: str, accept: str = "") -> tuple[str, str]:
    connection = http.client.HTTPConnection("localhost", None if isinstance(where, Path) else where, timeout=60)
    if isinstance(where, Path):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(where))
    connection.request("GET", target, headers={"Accept": accept} if accept else {})
    with contextlib.closing(connection), connection.getresponse() as answer:
        assert answer.status == 200
        return answer.headers["Content-Type"], answer.read().decode()


async def get(where: Path | int, target: str, accept: str = "") -> tuple[str, str]:
    return await asyncio.to_thread(_get, where, target, accept)


async def test_the_page_is_as_prometheus_reads_it(tmp_path: Path) -> None:
    async with agent(tmp_path) as path:
        kind, text = await get(path, "/metrics")
        assert kind.startswith("text/plain; version=0.0.4")
        found = {family.name: family for family in text_string_to_metric_families(text)}
        own = {name for name in found if name.startswith("fairlead_")}
        assert own <= DECLARED.keys() and "fairlead_status_patches" in own and "process_open_fds" in found
        kind, text = await get(path, "/metrics", "application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text") and text.endswith("# EOF\n")
        strict = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # it has no types
        assert {family.name for family in strict} >= own


async def test_the_proxys_page_is_behind_the_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with admin(monkeypatch, PAGE), agent(tmp_path) as path:
        _, text = await get(path, "/metrics/all")
    assert text.count("# EOF") == 1 and text.endswith("fairlead_proxy_page_complete 1\n# EOF\n")
    assert KEPT.decode() in text
    lines = [line.split()[0] for line in text.splitlines() if line.startswith("process_")]
    assert lines and len(lines) == len(set(lines)), "each only once"
    assert {"request_total", "fairlead_reason"} & {one.name for one in text_string_to_metric_families(text)}


@pytest.mark.parametrize(
    ("page", "status"), [(PAGE[:70], 200), (PAGE, 403), (PAGE, 503)], ids=["half", "403", "503"]
)
async def test_a_page_that_is_not_whole_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: bytes, status: int
) -> None:
    async with admin(monkeypatch, page, status), agent(tmp_path) as path:
        _, text = await get(path, "/metrics/all")
    assert text.endswith("fairlead_proxy_page_complete 0\n# EOF\n") and "fairlead_reason" in text


async def test_without_a_proxy_the_agents_page_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as gone:
        port = gone.getsockname()[1]
    monkeypatch.setattr(proxy_reading, "ADMIN", http_client.Server("127.0.0.1", port))
    async with agent(tmp_path) as path:
        _, text = await get(path, "/metrics/all")
    assert text.endswith("fairlead_proxy_page_complete 0\n# EOF\n") and "fairlead_reason" in text


async def test_a_page_of_many_megabytes_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = b"".join(b'request_total{peer="%d"} 1\n' % number for number in range(400_000))
    assert len(page) > 9 << 20
    async with admin(monkeypatch, page), agent(tmp_path) as path:
        _, text = await get(path, "/metrics/all")
    assert (8 << 20) - 100 < len(text) < (8 << 20) + (64 << 10)
    assert text.endswith("fairlead_proxy_page_complete 0\n# EOF\n")


async def test_the_pages_of_both_slots_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First that of the slot which new connections go to; the other while it runs."""

    async def served(stack: contextlib.AsyncExitStack, page: bytes) -> http_client.Server:
        async def answer(request: Request) -> Response:
            return Response(page, 200, "text/plain")

        listener = stack.enter_context(listening())
        await stack.enter_async_context(Server([Route("GET", "/metrics", answer)]).serving(listener.dup(), 8))
        return http_client.Server("127.0.0.1", listener.getsockname()[1])

    async with contextlib.AsyncExitStack() as stack:
        pages = (b'# TYPE a counter\na{x="1"} 1\n# EOF\n', b"# TYPE a counter\na 2\n# EOF\n")
        main, standby = [await served(stack, page) for page in pages]
        monkeypatch.setattr(proxy_reading, "admin", lambda port: main if port == 4191 else standby)
        it = context(tmp_path)
        it = dataclasses.replace(it, spec=dataclasses.replace(it.spec, slots=True))
        for runs, slot, lines in (
            (False, Slot.MAIN, ['a{slot="main",x="1"} 1']),
            (True, Slot.MAIN, ['a{slot="main",x="1"} 1', 'a{slot="standby"} 2']),
            (True, Slot.STANDBY, ['a{slot="standby"} 2', 'a{slot="main",x="1"} 1']),
        ):
            facts = serving(standby=world.proxy("ready" if runs else "stopped"))
            redirect = dataclasses.replace(cast(RedirectFact, facts.redirect), slot=slot)
            it.board.facts.set(dataclasses.replace(facts, redirect=redirect))
            text = b"".join([chunk async for chunk in metrics.with_the_proxys(it)]).decode()
            assert [line for line in text.splitlines() if line.startswith("a{")] == lines
            assert text.count("# TYPE a counter") == 1
            assert text.endswith("fairlead_proxy_page_complete 1\n# EOF\n")


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_it_listens_where_the_configuration_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it can: an address that another program has is reported until then."""
    monkeypatch.setattr(metrics, "AGAIN", 0.05)
    told: list[Fault | None] = []
    taken = listening()
    port = taken.getsockname()[1]
    task = asyncio.create_task(metrics.Listening(context(tmp_path, f"127.0.0.1:{port}"), told.append).run())
    try:
        await until(lambda: bool(told))
        fault = told[-1]
        assert fault is not None and fault.reason is Reason.METRICS_UNSERVED
        assert f"127.0.0.1:{port}" in fault.detail and "in use" in fault.detail
        taken.close()
        await until(lambda: told[-1] is None)
        _, text = await get(port, "/metrics")
        assert "fairlead_reason" in text
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_nothing_listens_unless_it_is_asked_for(tmp_path: Path) -> None:
    told: list[Any] = []
    await metrics.Listening(context(tmp_path), told.append).run()
    assert told == [None] and context(tmp_path).board.facts.value.metrics is UNKNOWN


def test_the_library_is_imported_with_the_first_scrape() -> None:
    program = "import sys, agent.daemon.configurations; print('prometheus_client' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ}
    )
    assert done.stdout == "False\n"
