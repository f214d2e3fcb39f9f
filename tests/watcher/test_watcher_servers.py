"""The watcher at an unusual kube-apiserver: it forgets old revisions at once, or serves an old version alone."""

import asyncio
import copy
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.kube import TokenFile, fleet
from agent.adapters.kube.fleet import FleetApi
from agent.cluster.watcher.board import Board
from agent.cluster.watcher.observer import Observer
from agent.core.reasons import Reason
from agent.core.watch.limits import Limits
from agent.host import clocks
from agent.sandbox.api.schema import EXTERNAL_WORKLOAD_CRD
from tests.lab.realparts import ApiServer
from tests.loops.running import running
from tests.watcher.watching import WITHIN, Fleet, kubeconfig, watcher

pytestmark = pytest.mark.real
KIND = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/externalworkloads.workload.linkerd.io"


class Forgetful(ApiServer):
    """etcd is compacted every second, so that a page of a LIST has no next one a few seconds later."""

    def _apiserver_flags(self, tls: Path) -> list[str]:
        return [*super()._apiserver_flags(tls), "--etcd-compaction-interval=1s"]


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with Forgetful() as made:
        yield made


async def until(server: ApiServer, path: str, status: int) -> None:
    """The server answers so."""
    async with asyncio.timeout(WITHIN):
        while (await asyncio.to_thread(server.request, "GET", path)).status != status:
            await asyncio.sleep(0.2)


def test_a_server_that_serves_v1alpha1_alone_is_named_and_then_upgraded(server: ApiServer, tmp_path: Path) -> None:
    """Linkerd before 2.16. No host is judged by it; after the upgrade the watcher goes on by itself."""
    old = copy.deepcopy(dict(EXTERNAL_WORKLOAD_CRD))
    (version,) = [one for one in old["spec"]["versions"] if one["name"] == "v1beta1"]
    old["spec"]["versions"] = [{**version, "name": "v1alpha1"}]
    server.install_crd(old)
    config = kubeconfig(server, tmp_path / "config")
    with watcher(config, "-n", "default", "--lease-namespace", "default") as seen:
        seen.wait_for("WorkloadKindAbsent")
        both = [{**version, "name": "v1alpha1", "storage": False}, version]
        server.must("PATCH", KIND, {"spec": {"versions": both}}, content_type="application/merge-patch+json")
        hosts = Fleet(server)
        seen.wait_for("recovered .*readings of namespace default")
    for name in ("vm-1", "vm-2", "dead"):
        hosts.enrol(name)
    with watcher(config, "-n", hosts.namespace, "--lease-namespace", "default"):
        hosts.renewing("vm-1", "vm-2", until=lambda: hosts.unreachable("dead"))
        assert hosts.ready("vm-1", "vm-2")


async def test_a_page_that_expired_is_a_reading_that_failed(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """410, by compaction between two pages: it is read again from the first one, and nothing is judged by half."""
    hosts = await asyncio.to_thread(Fleet, server)
    for number in range(3):
        await asyncio.to_thread(hosts.enrol, f"vm-{number}")
    (tmp_path / "token").write_text(server.admin_token)
    api = FleetApi(TokenFile(server.url, str(server.ca_file), str(tmp_path / "token")), instance="w")
    monkeypatch.setattr(fleet, "PAGE", 2)
    first = await asyncio.to_thread(server.request, "GET", hosts.leases, query={"limit": "2"})
    expired = first.body["metadata"]["continue"]
    await until(server, f"{hosts.leases}?limit=2&continue={expired}", 410)
    board = Board((hosts.namespace,), Limits(), clocks.elapsed)
    answers = {"GET": api.caller.call}

    async def call(method: str, path: str, *words: object, **more: object) -> object:
        query = more.get("query")
        if isinstance(query, dict) and "continue" in query and path == hosts.leases:
            more["query"] = {**query, "continue": expired}
        return await answers["GET"](method, path, *words, **more)  # type: ignore[arg-type]  # handed on

    try:
        monkeypatch.setattr(api.caller, "call", call)
        async with running(Observer(api, hosts.namespace, board, lambda: 0.5).run()):
            async with asyncio.timeout(WITHIN):
                while not board.faults:
                    await asyncio.sleep(0.05)
            assert board.stale() and not board.views[hosts.namespace].leases
            (fault,) = board.faults.values()
            assert fault.reason is Reason.API_REFUSED and "too old" in fault.detail, fault
            monkeypatch.setattr(api.caller, "call", answers["GET"])
            async with asyncio.timeout(WITHIN):
                while board.faults or board.stale():
                    await asyncio.sleep(0.05)
            assert len(board.views[hosts.namespace].leases) == 3
    finally:
        await api.close()
