"""What the watcher serves, in virtual time: its metrics as Prometheus reads them, and as docs/watcher.md says."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from agent.adapters.http_server import Request, Response
from agent.cluster.watcher.pages import METRICS, Pages
from tests.loops.test_watcher import Scene

DOCUMENT = (Path(__file__).parents[2] / "docs/watcher.md").read_text()


async def asked(scene: Scene, path: str) -> Response:
    pages = Pages(scene.board, scene.judge, scene.leader.leads)
    (route,) = [route for route in pages.routes() if route.path == path]
    return await route.handler(Request({}, None, -1))


async def metrics(scene: Scene) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """By name: labels and value of each."""
    text = (await asked(scene, "/metrics")).body
    families = list(text_string_to_metric_families(str(text)))
    assert [(family.type, family.documentation) for family in families] == list(METRICS.values())
    return {
        name: [(one.labels, one.value) for one in family.samples]
        for name, family in zip(METRICS, families, strict=True)
    }


async def test_the_page_says_what_the_watcher_knows() -> None:
    scene = Scene('a "quoted" zone', "b")
    assert (await metrics(scene))["fairlead_watcher_stale"] == [({"namespace": ""}, 1)]
    assert (await asked(scene, "/readyz")).status == 503 and (await asked(scene, "/livez")).status == 200
    async with scene.playing():
        await asyncio.sleep(20)
        assert (await asked(scene, "/readyz")).status == 200
        scene.dead = {name for name in scene.names if scene.api.zones[name] != "b"} - {scene.names[0]}
        await asyncio.sleep(50)
        found = await metrics(scene)
    assert found["fairlead_watcher_leads"] == [({}, 1)] and found["fairlead_watcher_stale"][0][1] == 0
    paces = {(labels["zone"], labels["pace"]): value for labels, value in found["fairlead_watcher_zone_guarded"]}
    assert paces == {('a "quoted" zone', "slow"): 1, ("b", "normal"): 0}
    held, marked = (found[f"fairlead_watcher_{name}"][0][1] for name in ("held_hosts", "marked_total"))
    assert held + marked == 4 and marked >= 1
    assert sum(value for _, value in found["fairlead_watcher_hosts"]) == 10


def test_the_document_lists_each_metric() -> None:
    rows = {f"| `{name}` | {kind} | {text} |" for name, (kind, text) in METRICS.items()}
    assert rows <= set(DOCUMENT.splitlines())
