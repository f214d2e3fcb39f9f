"""A real Prometheus scrapes the agent, both of its pages, and the watcher."""

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import yaml

from agent.sandbox.stage import network
from agent.sandbox.stage.client import ask
from agent.sandbox.stage.dead_host import watching
from agent.sandbox.stage.scene import Scene, end
from agent.sandbox.stage.tour import URL
from tests.host.scenario import scenario, serving

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "config/monitoring"
HOST, WATCHER, PROMETHEUS = f"{network.HOST}:9464", "127.0.0.1:9990", "127.0.0.1:9090"
LISTEN = f'[metrics]\nlisten = "{HOST}"\nplain = true\n'
JOBS = {"fairlead": (HOST, "/metrics"), "fairlead-all": (HOST, "/metrics/all"), "watcher": (WATCHER, "/metrics")}
WITHIN = 60.0


@scenario(extra=LISTEN)
async def prometheus_scrapes_both_pages(scene: Scene) -> None:
    """Each query of the dashboard and of the documents has data, and each rule is evaluated."""
    async with watching(scene, scene.base / "watcher.log", WATCHER), prometheus(scene.base):
        await serving(scene)
        await ask(URL)
        await _up()
        await scene.workload_api.stop()  # a problem
        assert (await scene.cli("drain"))[0] == 0  # and a host that is not Ready, with its reason
        left = {*panels(), *documented()}
        assert len(left) > 15
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WITHIN):
                while left := {query for query in left if not await _has_data(query)}:
                    await asyncio.sleep(0.5)
        assert not left, left
        rules = (await _asked("rules"))["groups"][0]["rules"]
        assert len(rules) == 7 and {rule["health"] for rule in rules} <= {"ok", "unknown"}, rules


def panels() -> list[str]:
    found = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in found for target in panel["targets"]]


def documented() -> list[str]:
    blocks = re.findall(r"^```promql\n(.*?)^```", (ROOT / "docs/monitoring.md").read_text(), re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


@contextlib.asynccontextmanager
async def prometheus(folder: Path) -> AsyncIterator[None]:
    jobs = [
        {"job_name": name, "metrics_path": path, "static_configs": [{"targets": [target]}]}
        for name, (target, path) in JOBS.items()
    ]
    often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    tree = {"global": often, "rule_files": [str(MONITORING / "rules.yaml")], "scrape_configs": jobs}
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(tree))
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={PROMETHEUS}",
            stdout=log,
            stderr=log,
            env={**os.environ},
        )
    try:
        yield
    finally:
        await end(process)


async def _up() -> None:
    """Every target was scraped without an error."""
    targets: list[dict[str, Any]] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WITHIN):
            while True:
                targets = (await _asked("targets"))["activeTargets"]
                if len(targets) == len(JOBS) and all(target["health"] == "up" for target in targets):
                    return
                await asyncio.sleep(0.5)
    raise AssertionError([(target["scrapeUrl"], target["lastError"]) for target in targets])


async def _has_data(query: str) -> bool:
    """Within the last minutes, as a panel shows them."""
    now = time.time()
    answer = await _asked("query_range", query=query, step="1", start=str(now - 300), end=str(now))
    return any(value != "NaN" for series in answer["result"] for _, value in series["values"])


async def _asked(what: str, **query: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{PROMETHEUS}/api/v1/{what}?{urlencode(query)}") as answer,
    ):
        found = await answer.json()
    assert found["status"] == "success", found
    data: dict[str, Any] = found["data"]
    return data
