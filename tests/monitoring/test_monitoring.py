"""config/monitoring: what Prometheus' own tool says of it, and that it names metrics that exist."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.cluster.watcher.pages import METRICS
from agent.core.metrics import DECLARED

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config/monitoring"
RULES: Sequence[dict[str, Any]] = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"][0]["rules"]
PANELS: Sequence[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
READY = 'fairlead_condition{condition="Ready",status="True",instance="vm"}'
WATCHED = 'fairlead_watcher_stale{namespace="shop",pod="a"}'

# Series that are good, and one that is not: each alert fires with the second and not with the first.
Values = dict[str, tuple[str, str]]
CASES: dict[str, Values] = {
    "FairleadNotReady": {
        READY: ("1x60", "0x60"),
        'fairlead_phase{phase="member",instance="vm"}': ("1x60", "1x60"),
    },
    "FairleadSvidExpiring": {
        'fairlead_svid_expiry_timestamp_seconds{instance="vm"}': ("3600+60x60", "2500x60"),
        'fairlead_svid_lifetime_seconds{instance="vm"}': ("3600x60", "3600x60"),
    },
    "FairleadLeaseLate": {
        'fairlead_lease_age_seconds{instance="vm"}': ("9x60", "10+60x60"),
        'fairlead_lease_period_seconds{instance="vm"}': ("10x60", "10x60"),
    },
    "FairleadProxyRestarts": {'fairlead_proxy_restarts_total{instance="vm"}': ("3x60", "0+1x60")},
    "FairleadRedirectDrift": {'fairlead_redirect_repairs_total{instance="vm"}': ("7x60", "0+1x60")},
    "FairleadFlapping": {READY: ("1x60", " ".join(["0 1"] * 30))},
    "FairleadWatcherStale": {WATCHED: ("0x60", "1x60")},
}
DRAINED = {READY: ("0x60", ""), 'fairlead_phase{phase="member",instance="vm"}': ("0x60", "")}


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], capture_output=True, text=True, cwd=FOLDER, env={**os.environ})


@pytest.mark.parametrize(("kind", "file"), [("config", "prometheus.yaml"), ("rules", "rules.yaml")])
def test_promtool_takes_it(kind: str, file: str) -> None:
    done = promtool("check", kind, file)
    assert done.returncode == 0, done.stdout + done.stderr


def fires(folder: Path, alert: str, values: dict[str, tuple[str, str]], which: int) -> bool:
    """By `promtool test rules`, half an hour in; the test that it fires fails where it does not."""
    series = [{"series": name, "values": both[which]} for name, both in values.items()]
    quiet = {"eval_time": "30m", "alertname": alert, "exp_alerts": []}
    test = {"interval": "1m", "input_series": series, "alert_rule_test": [quiet]}
    file = folder / "test.yaml"
    rules = str(FOLDER / "rules.yaml")
    file.write_text(yaml.safe_dump({"rule_files": [rules], "evaluation_interval": "1m", "tests": [test]}))
    done = promtool("test", "rules", str(file))
    failed = done.returncode == 1
    assert failed == (f"alertname: {alert}" in done.stderr + done.stdout), done.stderr
    return failed


@pytest.mark.parametrize("alert", CASES)
def test_each_alert_fires_and_does_not(tmp_path: Path, alert: str) -> None:
    assert fires(tmp_path, alert, CASES[alert], 1) and not fires(tmp_path, alert, CASES[alert], 0)


def test_a_drained_host_is_not_reported(tmp_path: Path) -> None:
    assert not fires(tmp_path, "FairleadNotReady", DRAINED, 0)


def test_each_alert_is_tested_and_has_its_runbook() -> None:
    assert [rule["alert"] for rule in RULES] == list(CASES)
    page = (ROOT / "docs/monitoring.md").read_text()
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{rule['alert'].lower()}"
        assert f"\n### {rule['alert']}\n" in page


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    yield from (target["expr"] for panel in PANELS for target in panel["targets"])


def test_every_metric_that_is_asked_for_exists() -> None:
    counters = {f"{name}_total" for name, declared in DECLARED.items() if declared.kind == "counter"}
    summaries = {name for name, declared in DECLARED.items() if declared.kind == "summary"}
    known = {name for name, declared in DECLARED.items() if declared.kind == "gauge"} | counters
    known |= {f"{name}_{part}" for name in summaries for part in ("sum", "count")}
    known |= METRICS.keys()
    asked = {name for one in expressions() for name in re.findall(r"\bfairlead_\w+", one)}
    assert asked <= known and len(asked) > 10


def test_the_dashboard_is_as_grafana_documents_it() -> None:
    """https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/: a grid of 24
    columns, on which no two panels share a place; ids of panels and queries are unique; data sources exist."""
    board = json.loads((FOLDER / "dashboard.json").read_text())
    assert board["uid"] and board["title"] and isinstance(board["schemaVersion"], int)
    sources = {f"${{{variable['name']}}}" for variable in board["templating"]["list"]}
    taken: list[tuple[int, int]] = []
    for panel in PANELS:
        assert panel["title"] and panel["type"] and panel["datasource"]["uid"] in sources
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        taken += [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
    assert len(set(taken)) == len(taken) and len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_the_objects_are_those_that_find_external_workloads() -> None:
    monitor = yaml.safe_load((FOLDER / "servicemonitor.yaml").read_text())
    assert monitor["spec"]["serviceDiscoveryRole"] == "EndpointSlice"
    plain = yaml.safe_load((FOLDER / "prometheus-kubernetes.yaml").read_text())["scrape_configs"][0]
    assert plain["kubernetes_sd_configs"] == [{"role": "endpointslice"}], "Debian's promtool does not know it"
    scrape = yaml.safe_load((FOLDER / "scrapeconfig.yaml").read_text())
    assert scrape["spec"]["kubernetesSDConfigs"] == [{"role": "EndpointSlice"}]
    kinds = [one["kind"] for one in yaml.safe_load_all((FOLDER / "service.yaml").read_text())]
    assert kinds == ["Service", "Server", "MeshTLSAuthentication", "AuthorizationPolicy"]
